import type { Failure } from '@felhom/kernel/failure.ts';
import type { OtherDebt, OtherDebts } from 'felhom-controller/quiesce/other-debts.ts';
import type { RunPorts } from 'felhom-controller/quiesce/ports.ts';
import { type RecoverEnd, recover } from 'felhom-controller/quiesce/recover.ts';
import type { Restored, VolumeSnapshots } from 'felhom-controller/volume-snapshots/contract.ts';
import { type CreateEnd, createSnapshot } from 'felhom-controller/volume-snapshots/create.ts';
import type { SnapshotPorts } from 'felhom-controller/volume-snapshots/ports.ts';
import { type RestoreDebt, restoreDebt } from 'felhom-controller/volume-snapshots/restore-debt.ts';
import { restoreDebts } from 'felhom-controller/volume-snapshots/restore-debts.ts';
import { restoreRun } from 'felhom-controller/volume-snapshots/restore-run.ts';
import { openVolumeSnapshots } from 'felhom-controller/volume-snapshots/volume-snapshots.ts';
import { type Ended, endOf, makeWorld, newProcess, type World } from './controller-world.ts';
import type { CrashPoint, Doom } from './doom.ts';
import { type MemoryDisk, memoryDisk } from './memory-disk.ts';
import { type MarkerPlace, markerPlace } from './memory-stores.ts';

/*
 * A guest with a stack `shop` whose data lies on a file system in memory: what survives crashes of the program that
 * snapshots and restores it.
 */

export interface SnapshotWorld {
  world: World;
  memory: MemoryDisk;
  debts: MarkerPlace<RestoreDebt>;
}

/** Where the stack's data lies. `cache` is a mount point; `late` is absent until somebody makes it. */
export const places = {
  volume: '/docker/volumes/shop_data/_data',
  cache: '/srv/shop/cache',
  uploads: '/srv/shop/uploads',
  compose: '/srv/shop/compose.yaml',
  env: '/srv/shop/.env',
} as const;
const snapshotsFolder = '/var/lib/felhom/snapshots';

export function makeSnapshotWorld(): SnapshotWorld {
  const shop = { project: 'shop', composeFiles: [places.compose], workingDir: '/srv/shop' };
  const world = makeWorld({
    name: 'snapshots',
    containers: () => [
      {
        ...shop,
        name: 'db',
        service: 'db',
        number: 1,
        restartPolicy: 'always',
        behaviour: { healthyAfterMs: 300 },
        mounts: [
          { kind: 'volume', source: places.volume, destination: '/data', volume: 'shop_data', writable: true },
          { kind: 'bind', source: places.cache, destination: '/cache', volume: null, writable: true },
        ],
      },
      {
        ...shop,
        name: 'app',
        service: 'app',
        number: 1,
        restartPolicy: 'no',
        dependencies: [{ service: 'db', condition: 'service_healthy', restart: false }],
        mounts: [{ kind: 'bind', source: places.uploads, destination: '/up', volume: null, writable: true }],
      },
      { ...shop, name: 'worker', service: 'worker', number: 1, status: 'exited', stoppedByHand: true },
      { name: 'beside', project: 'wiki', service: 'beside', number: 1 },
    ],
  });
  world.fake.addVolume({ name: 'shop_data', mountpoint: places.volume });
  world.fake.model('shop', {});
  const memory = memoryDisk();
  memory.mount({ device: '8:2', path: places.cache, type: 'ext4', source: '/dev/sdb1', readOnly: false });
  world.policy = { stacks: {} };
  const snapshotWorld = { world, memory, debts: markerPlace(restoreDebt) };
  fill(snapshotWorld, 'old');
  return snapshotWorld;
}

/** Writes the stack's data in one of its states. */
export function fill({ memory }: SnapshotWorld, state: 'old' | 'new'): void {
  for (const folder of [places.volume, places.cache, places.uploads]) {
    memory.folder(folder, `of-${state}`);
    for (const path of memory.paths(folder)) if (path !== folder && memory.text(path) !== null) memory.remove(path);
  }
  memory.put(`${places.volume}/rows`, `${state} rows`);
  memory.put(`${places.volume}/deep/${state}`, state);
  memory.put(`${places.cache}/entry`, `${state} entry`);
  memory.put(`${places.cache}/only-${state}`, state);
  memory.put(`${places.uploads}/picture`, `${state} picture`);
  memory.put(places.compose, `# ${state}\nservices: {}\n`);
  memory.put(places.env, `STATE=${state}\n`);
}

/** All of the stack's data and files, as text that can be compared. */
export function data({ memory }: SnapshotWorld): string {
  return [
    ...[places.volume, places.cache, places.uploads].flatMap((folder) => memory.portrait(folder)),
    memory.text(places.compose) ?? 'absent',
    memory.text(places.env) ?? 'absent',
  ].join('\n');
}

interface Process {
  ports: RunPorts;
  snapshots: VolumeSnapshots;
  life: Doom;
}

function processOf({ world, memory, debts }: SnapshotWorld, point: CrashPoint | null): Process {
  const { ports, life } = newProcess(world, point);
  const snapshotPorts: SnapshotPorts = {
    clock: ports.clock,
    engine: {
      ...ports.engine,
      ...through(life, 'engine', pick(world.fake.engine, ['volumes', 'composeModel', 'setRestartPolicy'])),
    },
    disk: { ...through(life, 'disk', memory.disk), newId: memory.disk.newId },
    archiver: through(life, 'archiver', memory.archiver),
    debts: through(life, 'debts', debts.open()),
  };
  const snapshots = openVolumeSnapshots(snapshotPorts, {
    folder: snapshotsFolder,
    keep: 2,
    policyOf: () => ({ include: [places.cache], exclude: [] }),
    ownFolders: ['/var/lib/felhom'],
  });
  return { ports: { ...ports, otherDebts: [restoreDebts(snapshotPorts)] }, snapshots, life };
}

/** Every method of a port as an effect of a life. */
function through<P extends object>(life: Doom, name: string, port: P): P {
  const wrapped = Object.entries(port).map(([method, call]) => [
    method,
    async (...words: unknown[]): Promise<unknown> =>
      await life.effect(
        `${name}.${method}`,
        async () => await (call as (...all: unknown[]) => Promise<unknown>)(...words),
      ),
  ]);
  return Object.fromEntries(wrapped) as P;
}

function pick<T extends object, K extends keyof T>(from: T, keys: readonly K[]): Pick<T, K> {
  return Object.fromEntries(keys.map((key) => [key, from[key]])) as Pick<T, K>;
}

export async function simulateCreate(at: SnapshotWorld, point: CrashPoint | null): Promise<Ended<CreateEnd>> {
  const { ports, snapshots, life } = processOf(at, point);
  const { policy, bounds, stop } = at.world;
  const work = createSnapshot(ports, snapshots, {
    stack: 'shop',
    quiesce: true,
    reason: 'test',
    policy,
    bounds,
    stop: stop.signal,
  });
  return await at.world.clock.run(endOf(work, life));
}

const nothingOwed: OtherDebts = {
  owed: async () => null,
  settle: async () => ({ started: [], owed: [], failure: null }),
  sweep: async () => undefined,
  forgive: async () => false,
};

export type RestoreOutcome = { kind: 'restored'; restored: Restored } | { kind: 'refused'; failure: Failure };

export async function simulateRestore(
  at: SnapshotWorld,
  point: CrashPoint | null,
  otherDebts: readonly OtherDebt[] = [],
): Promise<Ended<RestoreOutcome>> {
  const { ports: own, snapshots, life } = processOf(at, point);
  const more = otherDebts.map((debt): OtherDebts => ({ ...nothingOwed, owed: async () => debt }));
  const ports = { ...own, otherDebts: [...(own.otherDebts ?? []), ...more] };
  const stop = new AbortController().signal;
  const options = { stack: 'shop', id: null, files: true, bounds: at.world.bounds, stop };
  const work = restoreRun(ports, snapshots, options).then(
    (restored): RestoreOutcome => ({ kind: 'restored', restored }),
    (failure: Failure): RestoreOutcome => ({ kind: 'refused', failure }),
  );
  return await at.world.clock.run(endOf(work, life));
}

export async function simulateSettle(at: SnapshotWorld, point: CrashPoint | null = null): Promise<Ended<RecoverEnd>> {
  const { ports, life } = processOf(at, point);
  const work = recover(ports, { bounds: at.world.bounds, forgive: null, stop: new AbortController().signal });
  return await at.world.clock.run(endOf(work, life));
}

/** What a process that looks now finds of the stack's snapshots: verified ids, and the last good one. */
export async function lookAtSnapshots(
  at: SnapshotWorld,
): Promise<{ ids: string[]; whole: string[]; lastGood: string | null; leftovers: string[] }> {
  const { snapshots, life } = processOf(at, null);
  const look = async (): Promise<{ ids: string[]; whole: string[]; lastGood: string | null; leftovers: string[] }> => {
    const ids = (await snapshots.list('shop')).map(({ id }) => id);
    const whole: string[] = [];
    for (const id of ids) {
      const verified = await snapshots.verify('shop', id).catch(() => null); // Counted as not whole.
      if (verified !== null) whole.push(id);
    }
    const leftovers = at.memory.paths('/').filter((path) => path.includes('felhom-restore'));
    return { ids, whole, lastGood: await snapshots.lastGood('shop'), leftovers };
  };
  const { end } = await at.world.clock.run(endOf(look(), life));
  if (end === null) throw new Error('nobody dies of looking');
  return end;
}
