import type { UpgradeScenario } from './upgrade-world.ts';

const v1 = { id: 'sha256:v1', schema: 1 };
const v2 = { id: 'sha256:v2', schema: 2 };
/** Migrates its data, and then ends. */
const broken = { id: 'sha256:v2-broken', schema: 2, behaviour: { runsForMs: 3_000, exitCode: 1 } };
const redis = { id: 'sha256:redis', schema: null };
const task = { id: 'sha256:task', schema: null, behaviour: { runsForMs: 50, exitCode: 0 } };

const app = { image: 'app:1', volume: 'data', restart: 'unless-stopped' } as const;

export const upgradeScenarios: readonly UpgradeScenario[] = [
  {
    name: 'a healthy new version, by its tag in the Compose file',
    images: { 'app:1': v1, 'app:2': v2 },
    before: { app },
    after: { app: { ...app, image: 'app:2' } },
    becomes: 'new',
  },
  {
    name: 'a new version that migrates the data and then ends',
    images: { 'app:1': v1, 'app:2': broken },
    before: { app },
    after: { app: { ...app, image: 'app:2' } },
    becomes: 'old',
  },
  {
    name: 'the same, where the old Compose file is not known any more',
    images: { 'app:1': v1, 'app:2': broken },
    before: { app },
    after: { app: { ...app, image: 'app:2' } },
    remembered: false,
    becomes: 'old',
  },
  {
    name: 'the same with a restart policy "no"',
    images: { 'app:1': v1, 'app:2': broken },
    before: { app: { ...app, restart: 'no' } },
    after: { app: { ...app, restart: 'no', image: 'app:2' } },
    becomes: 'old',
  },
  {
    name: 'a tag that moved to a version that ends',
    images: { 'app:latest': v1, new: broken },
    before: { app: { ...app, image: 'app:latest' } },
    after: { app: { ...app, image: 'app:latest' } },
    arrange: ({ tags }) => tags.set('app:latest', broken.id),
    becomes: 'old',
  },
  {
    name: 'a version that ends, with the old tag pruned before',
    images: { 'app:1': v1, 'app:2': broken },
    before: { app },
    after: { app: { ...app, image: 'app:2' } },
    arrange: ({ tags }) => void tags.delete('app:1'),
    becomes: 'old',
  },
  {
    name: 'two replicas, each with data that has no name, of a version that ends',
    images: { 'app:1': v1, 'app:2': broken },
    before: { app: { image: 'app:1', replicas: 2, anonymous: true, restart: 'unless-stopped' } },
    after: { app: { image: 'app:2', replicas: 2, anonymous: true, restart: 'unless-stopped' } },
    becomes: 'old',
  },
  {
    name: 'a version of one of two services: the other one is as it was, and is not made anew',
    images: { 'app:1': v1, 'app:2': v2, redis },
    before: { app, cache: { image: 'redis', restart: 'always' }, spare: { image: 'redis', restart: 'unless-stopped' } },
    after: {
      app: { ...app, image: 'app:2' },
      cache: { image: 'redis', restart: 'always' },
      spare: { image: 'redis', restart: 'unless-stopped' },
    },
    off: ['spare'],
    becomes: 'new',
  },
  {
    name: 'several services: one off, one new, one dropped, a task, data of two',
    images: { 'app:1': v1, 'app:2': v2, redis, task },
    before: {
      app: { ...app, dependsOn: { migrate: 'service_completed_successfully' } },
      migrate: { image: 'task' },
      files: { image: 'app:1', volume: 'files', restart: 'always' },
      debug: { image: 'redis', restart: 'always' },
      legacy: { image: 'redis' },
    },
    after: {
      app: { ...app, image: 'app:2', dependsOn: { migrate: 'service_completed_successfully' } },
      migrate: { image: 'task' },
      files: { image: 'app:2', volume: 'files', restart: 'always' },
      debug: { image: 'redis', restart: 'always' },
      cache: { image: 'redis', restart: 'always' },
    },
    off: ['debug'],
    becomes: 'new',
  },
  {
    name: 'several services, of which one ends',
    images: { 'app:1': v1, 'app:2': v2, 'files:2': broken, redis },
    before: {
      app,
      files: { image: 'app:1', volume: 'files', restart: 'always' },
      debug: { image: 'redis' },
      legacy: { image: 'redis' },
    },
    after: {
      app: { ...app, image: 'app:2' },
      files: { image: 'files:2', volume: 'files', restart: 'always' },
      debug: { image: 'redis' },
      cache: { image: 'redis' },
    },
    off: ['debug'],
    becomes: 'old',
  },
];
