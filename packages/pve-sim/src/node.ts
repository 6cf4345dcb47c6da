import type { ClusterFolder } from './cluster/cluster-folder.ts';
import type { Delays } from './delays.ts';
import type { Faults } from './faults.ts';
import type { GuestStore } from './guests/guest-store.ts';
import type { PowerLocks } from './guests/power-lock.ts';
import type { GuestSpec, PveSimOptions, StorageSpec, TokenSpec } from './options.ts';
import type { TaskRunner } from './tasks/task-runner.ts';
import type { TaskStore } from './tasks/task-store.ts';
import type { WorkerPool } from './tasks/worker-pool.ts';

/** The simulated node: what every route works with. */
export interface SimNode {
  name: string;
  state: string;
  options: PveSimOptions;
  delays: Delays;
  tokens: readonly TokenSpec[];
  fingerprint: string;
  storages: readonly StorageSpec[];
  guestSpecs: readonly GuestSpec[];
  guests: GuestStore;
  /** Null: the node is alone. */
  cluster: ClusterFolder | null;
  tasks: TaskStore;
  runner: TaskRunner;
  workers: WorkerPool;
  faults: Faults;
  power: PowerLocks;
  warn: (line: string) => void;
  startedAtMs: number;
}
