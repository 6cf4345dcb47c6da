import { Failure } from '@felhom/kernel/failure.ts';
import { persistedMachine } from '@felhom/phases/persisted.ts';
import type { Alert } from 'felhom-controller/alerts/alert.ts';
import type { ContainerState } from 'felhom-controller/engine/engine.ts';
import { defaultBounds } from 'felhom-controller/quiesce/bounds.ts';
import { type Marker, marker } from 'felhom-controller/quiesce/marker.ts';
import type { LockPort, RunHolder } from 'felhom-controller/quiesce/ports.ts';
import { isStackOwed } from 'felhom-controller/quiesce/stack-owed.ts';
import { type ActivateEnd, activate } from 'felhom-controller/upgrade/activate.ts';
import { defaultUpgradeBounds } from 'felhom-controller/upgrade/bounds.ts';
import { type UpgradeDebt, upgradeDebt } from 'felhom-controller/upgrade/debt.ts';
import type { KnownBad, LastGood } from 'felhom-controller/upgrade/memory.ts';
import { upgradeNotes } from 'felhom-controller/upgrade/memory.ts';
import { upgradeMachine } from 'felhom-controller/upgrade/phases.ts';
import type { UpgradePorts } from 'felhom-controller/upgrade/ports.ts';
import type { UpgradeSettings } from 'felhom-controller/upgrade/run.ts';
import { stage } from 'felhom-controller/upgrade/stage.ts';
import { type CrashPoint, type Doom, doom } from './doom.ts';
import { type MarkerPlace, markerPlace } from './memory-stores.ts';
import {
  create,
  type FakeImage,
  type FakeService,
  type FakeVolume,
  stackEngineOver,
  type UpgradeEngineWorld,
  upgradeEngineWorld,
} from './upgrade-engine.ts';
import { type VirtualClock, virtualClock } from './virtual-clock.ts';

/** A guest with one stack that is upgraded. What lies here survives every crash; processes come and go. */
export interface UpgradeWorld extends UpgradeEngineWorld {
  debts: MarkerPlace<UpgradeDebt>;
  markers: MarkerPlace<Marker>;
  machineText: string | null;
  lastGood: LastGood | null;
  knownBad: KnownBad[];
  alerts: Omit<Alert, 'acked_at'>[];
  snapshots: Map<string, Map<string, FakeVolume>>;
  goodSnapshot: string | null;
  /** What every snapshot turns out to be: it cannot be read, or it cannot be put back. */
  damage: 'none' | 'read' | 'put back';
  settings: UpgradeSettings;
  lock: { holder: RunHolder | null; nextPid: number };
  /** The state folder's disk is full: nothing can be written to it. */
  diskFull: boolean;
  /** What happens while the data is read. */
  whileRead: () => void;
  /** Other disks have no room for the way back. */
  noRoom: boolean;
  /** Room for the way back is set aside. */
  reserved: boolean;
  /** Debts that were being written beside the whole one, in the same folder. */
  halves: number;
}

export const stack = 'shop';
export const composePath = '/srv/shop/compose.yaml';

export interface UpgradeScenario {
  name: string;
  images: Record<string, FakeImage>;
  before: Record<string, FakeService>;
  after: Record<string, FakeService>;
  /** Services that a person has switched off. */
  off?: string[];
  /** What the new version comes to when nobody interferes. */
  becomes: 'new' | 'old';
  /** False: nobody has looked at the stack since its Compose file was edited, so the old one is not known. */
  remembered?: boolean;
  /** Names that move, or go, before the upgrade. */
  arrange?: (world: UpgradeWorld) => void;
}

export function makeUpgradeWorld(scenario: UpgradeScenario, clock: VirtualClock = virtualClock()): UpgradeWorld {
  const bounds = { ...defaultUpgradeBounds, healthMarginMs: 5_000, stableMs: 5_000, lookEveryMs: 2_500 };
  const world: UpgradeWorld = Object.assign(upgradeEngineWorld(clock), {
    debts: markerPlace(upgradeDebt),
    markers: markerPlace(marker),
    machineText: null,
    lastGood: null,
    knownBad: [],
    alerts: [],
    snapshots: new Map(),
    goodSnapshot: null,
    damage: 'none' as const,
    settings: {
      bounds,
      quiesce: defaultBounds,
      policyOf: () => ({ policy: 'ask' as const, window: null, probe: null, rollbackAfter: 1 }),
      blockFile: '/etc/felhom/upgrade.blocked',
    },
    lock: { holder: null, nextPid: 100 },
    diskFull: false,
    noRoom: false,
    reserved: false,
    halves: 0,
    whileRead: () => undefined,
  });
  for (const [name, image] of Object.entries(scenario.images)) {
    world.images.set(image.id, image);
    world.tags.set(name, image.id);
  }
  const project = { project: stack, composeFiles: [composePath], envFiles: [], workingDir: '/srv/shop' };
  world.files.set(composePath, JSON.stringify({ services: scenario.before }));
  for (const [name, service] of Object.entries(scenario.before)) {
    const image = world.images.get(world.tags.get(service.image) ?? '');
    if (image === undefined) throw new Error(`the scenario has no image ${service.image}`);
    if (service.volume !== undefined)
      world.volumes.set(service.volume, { schema: image.schema ?? 1, rows: ['written', 'before'] });
    for (let number = 1; number <= (service.replicas ?? 1); number += 1) {
      const container = `${stack}-${name}-${number}`;
      create(world, project, { name, service, image, number, anonymous: null });
      const anonymous = service.anonymous === true ? world.fake.state(container)?.mounts[0]?.volume : null;
      if (anonymous != null) world.volumes.set(anonymous, { schema: image.schema ?? 1, rows: ['written', 'before'] });
      if (scenario.off?.includes(name) !== true) world.fake.startByHand(container);
    }
  }
  if (scenario.remembered !== false) world.lastGood = remembered(world, scenario);
  world.files.set(composePath, JSON.stringify({ services: scenario.after }));
  scenario.arrange?.(world);
  return world;
}

/** What any look at the stack keeps: the files from which its containers were made. */
function remembered(world: UpgradeWorld, scenario: UpgradeScenario): LastGood {
  const base64 = Buffer.from(world.files.get(composePath) ?? '').toString('base64');
  const hashes = Object.keys(scenario.before).map((name) => [name, world.fake.state(`${stack}-${name}-1`)?.configHash]);
  const files = [{ path: composePath, mode: 0o600, uid: 0, gid: 0, base64 }];
  return { stack, definition: { hashes: Object.fromEntries(hashes), files }, previous: null };
}

/** Ports of one process in this world; every effect of it may be its last. */
export function upgradePorts(world: UpgradeWorld, life: Doom, pid: number): UpgradePorts {
  const { clock } = world;
  const step = async <T>(name: string, work: () => Promise<T>): Promise<T> => await life.effect(name, work);
  const debts = world.debts.open();
  const writable = async <T>(work: () => Promise<T>): Promise<T> => {
    if (world.diskFull) throw new Failure('state_unwritable', { message: 'no space left on device', hint: 'df' });
    return await work();
  };
  const ports: UpgradePorts = {
    clock: {
      ...clock,
      sleep: async (ms, signal) => {
        await clock.sleep(ms, signal);
        if (life.isDead()) await new Promise(() => undefined);
      },
    },
    engine: stackEngineOver(world, step),
    debts: {
      read: debts.read,
      erase: async () => await writable(debts.erase),
      write: async (debt) => {
        // Whoever dies from here on leaves it.
        await step('debts.begin', async () => {
          world.halves += 1;
        });
        await step('debts.write', async () => {
          await writable(async () => await debts.write(debt)).finally(() => {
            world.halves -= 1;
          });
        });
      },
      sweep: async () => {
        world.halves = 0;
      },
    },
    othersOwe: async (of) => await isStackOwed({ markers: world.markers.open(), otherDebts: [] }, of),
    machine: () =>
      persistedMachine({
        machine: upgradeMachine,
        success: ['success'],
        checked: ['verifying'],
        path: 'state.json',
        version: 1,
        data: upgradeNotes,
        clock,
        openFile: ({ schema }) => ({
          read: async () => {
            const parsed = world.machineText === null ? null : schema.safeParse(JSON.parse(world.machineText));
            if (parsed === null) return { kind: 'absent' };
            if (!parsed.success) throw new Error('the machine was written in a form that it does not read');
            return { kind: 'present', value: parsed.data };
          },
          write: async (value) =>
            await step('machine.write', async () => {
              await writable(async () => {
                world.machineText = JSON.stringify(value);
              });
            }),
          remove: async () => {
            world.machineText = null;
          },
        }),
      }),
    memory: {
      stacks: async () => [stack],
      lastGood: async () => structuredClone(world.lastGood),
      saveLastGood: async (good) => {
        world.lastGood = structuredClone(good);
      },
      knownBad: async () => structuredClone(world.knownBad),
      addKnownBad: async (_, bad) => {
        world.knownBad = [...world.knownBad.filter(({ key }) => key !== bad.key), bad];
      },
      allow: async () => world.knownBad.splice(0).length,
      pinsPath: () => '/state/as-it-was.json',
      writePins: async (_, content) => {
        world.files.set('/state/as-it-was.json', content);
        return '/state/as-it-was.json';
      },
    },
    files: {
      belonging: async ({ composeFiles }) => [...composeFiles],
      keep: async (paths) =>
        paths.flatMap((path) => {
          const text = world.files.get(path);
          const base64 = Buffer.from(text ?? '').toString('base64');
          return text === undefined ? [] : [{ path, mode: 0o600, uid: 0, gid: 0, base64 }];
        }),
      putBack: async ({ path, base64 }) => void world.files.set(path, Buffer.from(base64, 'base64').toString('utf8')),
      exists: async (path) => world.files.has(path),
      roomFor: async () => ['/volumes/.felhom-room'],
      reserve: async () => {
        world.reserved = true; // In part.
        if (world.noRoom) throw new Failure('no_space', { message: 'no room for the way back', hint: 'df' });
      },
      release: async () => {
        world.reserved = false;
      },
      unwritable: async () => [],
    },
    data: dataOf(world, step),
    probe: { ask: async () => null },
    alerts: {
      raise: async (alert) => {
        world.alerts = [...world.alerts.filter(({ id }) => id !== alert.id), alert];
      },
    },
    lock: lockOf(world, pid),
    turn: { take: async () => ({ release: async () => undefined }) },
    guard: { start: async () => ({ arm: () => undefined, disarm: () => undefined }) },
    system: { newRunId: () => `run-${pid}`, bootId: async () => 'boot', isStopping: async () => false },
    progress: () => undefined,
  };
  return doomed(ports, step);
}

/** Volume snapshots: a restore goes volume by volume, and may end in between. */
function dataOf(world: UpgradeWorld, step: Parameters<typeof stackEngineOver>[1]): UpgradePorts['data'] {
  const own = async (): Promise<ContainerState[]> =>
    (await world.fake.engine.list()).filter(({ project }) => project === stack);
  const putBack = async (snapshot: ReadonlyMap<string, FakeVolume>): Promise<void> => {
    if (world.damage === 'put back') throw new Failure('no_space', { message: 'the disk is full', hint: 'df' });
    for (const [name, volume] of snapshot) {
      const left = await own();
      if (left.length > 0) world.violations.push(`the data was swapped while ${left[0]?.name ?? ''} existed`);
      await step('data.restore', async () => void world.volumes.set(name, structuredClone(volume)));
    }
  };
  const plan = {
    folders: [],
    leftOut: [],
    moved: { left: [], found: [] },
    shared: [],
    obstacles: [],
    neededBytes: 0,
    restoreBytes: 0,
    freeBytes: 2 ** 40,
  };
  return {
    plan: async () => plan,
    prepare: async () => ({
      keep: async ({ isGood }) => {
        for (const { name, status } of await own())
          if (status === 'running') world.violations.push(`the data was read while ${name} ran`);
        const id = `snapshot-${world.snapshots.size + 1}`;
        const started: string[] = [];
        const copied = await step('data.capture', async () => {
          world.whileRead();
          await world.clock.sleep(2_000);
          started.push(...(await own()).flatMap(({ name, status }) => (status === 'running' ? [name] : [])));
          return structuredClone(new Map(world.volumes));
        });
        await step('data.keep', async () => {
          // What a dead process has read is nobody's snapshot: only what is kept counts.
          for (const name of started) world.violations.push(`${name} was started while the data was read`);
          world.snapshots.set(id, copied);
          if (isGood) world.goodSnapshot = id;
        });
        return { id };
      },
    }),
    seal: async () => undefined,
    verify: async (_, id) => {
      const snapshot = world.snapshots.get(id);
      if (snapshot === undefined) throw new Failure('not_found', { message: `no snapshot ${id}`, hint: '' });
      await step('data.verify', async () => undefined);
      if (world.damage === 'read')
        throw new Failure('snapshot_damaged', { message: `snapshot ${id} is damaged`, hint: 'snapshot list' });
      return { restore: async () => await putBack(snapshot) };
    },
  };
}

function lockOf({ lock }: UpgradeWorld, pid: number): LockPort {
  return {
    acquire: async (what, runId) => {
      if (lock.holder !== null) return { kind: 'busy', holder: lock.holder };
      lock.holder = { pid, startTime: '1', what, runId, deadlineMs: null };
      return {
        kind: 'held',
        lock: {
          inheritFds: [],
          update: async () => undefined,
          release: async () => {
            if (lock.holder?.pid === pid) lock.holder = null;
          },
        },
      };
    },
    isAlive: async () => false,
    endHolder: async () => undefined,
    endChildren: async () => undefined,
  };
}

/** Every call that reaches the world is an effect. */
function doomed(ports: UpgradePorts, step: Parameters<typeof stackEngineOver>[1]): UpgradePorts {
  const through = <A extends unknown[], R>(name: string, call: (...args: A) => Promise<R>) => {
    return async (...args: A): Promise<R> => await step(name, async () => await call(...args));
  };
  const { engine, debts, memory, files, alerts, lock } = ports;
  return {
    ...ports,
    engine: {
      ...engine,
      list: through('engine.list', engine.list),
      inspect: through('engine.inspect', engine.inspect),
      stop: through('engine.stop', engine.stop),
      start: through('engine.start', engine.start),
      recreate: through('engine.recreate', engine.recreate),
      tag: through('engine.tag', engine.tag),
      untag: through('engine.untag', engine.untag),
      setRestartPolicy: through('engine.setRestartPolicy', engine.setRestartPolicy),
      pinImage: through('engine.pinImage', engine.pinImage),
      remove: through('engine.remove', engine.remove),
    },
    debts: { ...debts, erase: through('debts.erase', debts.erase), sweep: through('debts.sweep', debts.sweep) },
    memory: {
      ...memory,
      saveLastGood: through('memory.saveLastGood', memory.saveLastGood),
      addKnownBad: through('memory.addKnownBad', memory.addKnownBad),
      writePins: through('memory.writePins', memory.writePins),
    },
    files: {
      ...files,
      putBack: through('files.putBack', files.putBack),
      reserve: through('files.reserve', files.reserve),
      release: through('files.release', files.release),
    },
    alerts: { raise: through('alerts.raise', alerts.raise) },
    lock: { ...lock, acquire: through('lock.acquire', lock.acquire) },
  };
}

function newLife(world: UpgradeWorld, point: CrashPoint | null): { life: Doom; pid: number } {
  const pid = world.lock.nextPid++;
  const life = doom(point, world.clock, { untilMs: 0 }, () => {
    if (world.lock.holder?.pid === pid) world.lock.holder = null;
  });
  return { life, pid };
}

export interface Lived<E> {
  /** Null: it died. */
  end: E | null;
  trace: readonly string[];
}

/** `upgrade apply`, to its end or its death. */
export async function simulateUpgrade(
  world: UpgradeWorld,
  point: CrashPoint | null,
  { rollbackAfter = 1, stop = new AbortController().signal } = {},
): Promise<Lived<ActivateEnd>> {
  const { life, pid } = newLife(world, point);
  const ports = upgradePorts(world, life, pid);
  const work = async (): Promise<ActivateEnd> => {
    const request = { stack, force: false, askRegistry: false, stop };
    const checked = await stage(ports, world.settings, request);
    if (checked === null) throw new Error('the scenario has nothing to upgrade');
    return await activate(ports, world.settings, checked, { rollbackAfter, stop, warn: () => undefined });
  };
  return await settle(world, work(), life);
}

/** Whatever `work` does with ports of its own, to its end or its death. */
export async function live<E>(
  world: UpgradeWorld,
  point: CrashPoint | null,
  work: (ports: UpgradePorts) => Promise<E>,
): Promise<Lived<E>> {
  const { life, pid } = newLife(world, point);
  return await settle(world, work(upgradePorts(world, life, pid)), life);
}

async function settle<E>(world: UpgradeWorld, work: Promise<E>, life: Doom): Promise<Lived<E>> {
  work.catch(() => undefined); // A death in an effect ends it with an error that nobody hears.
  const first = await world.clock.run(Promise.race([life.died, work.then((end) => ({ end }))]));
  life.kill();
  return { end: first === 'died' ? null : first.end, trace: [...life.trace] };
}
