import type { Route } from '../router.ts';
import { clusterRoutes } from './cluster.ts';
import { guestConfigRoutes } from './guest-config.ts';
import { guestPowerRoutes } from './guest-power.ts';
import { guestStatusRoutes } from './guest-status.ts';
import { migrateRoutes } from './migrate.ts';
import { restoreRoutes } from './restore.ts';
import { snapshotRoutes } from './snapshots.ts';
import { storageRoutes } from './storage.ts';
import { taskRoutes } from './tasks.ts';
import { vzdumpRoutes } from './vzdump.ts';

export const routes: readonly Route[] = [
  ...clusterRoutes,
  ...guestStatusRoutes,
  ...guestConfigRoutes,
  ...guestPowerRoutes,
  ...snapshotRoutes,
  ...migrateRoutes,
  ...restoreRoutes,
  ...taskRoutes,
  ...vzdumpRoutes,
  ...storageRoutes,
];
