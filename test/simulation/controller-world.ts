import type { Grade } from '@felhom/guest-api/schema.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { defaultBounds, type QuiesceBounds } from 'felhom-controller/quiesce/bounds.ts';
import { type BackupEnd, runBackup } from 'felhom-controller/quiesce/cycle.ts';
import { type Marker, marker } from 'felhom-controller/quiesce/marker.ts';
import type { QuiescePolicy } from 'felhom-controller/quiesce/policy.ts';
import type { AgentPort, LockPort, OpenRun, RunHolder, RunPorts } from 'felhom-controller/quiesce/ports.ts';
import { type RecoverEnd, recover } from 'felhom-controller/quiesce/recover.ts';
import type { RunResult } from 'felhom-controller/quiesce/result.ts';
import { type CrashPoint, type Doom, doom, doomedPorts, type Freezer, type Moment } from './doom.ts';
import { agentError, type FakeAgent, fakeAgent } from './fake-agent.ts';
import { type ContainerSpec, type FakeEngine, fakeEngine } from './fake-engine.ts';
import { type MarkerPlace, markerPlace } from './memory-stores.ts';
import { type VirtualClock, virtualClock } from './virtual-clock.ts';

/*
 * A guest and its host as far as the controller meets them. What lies here survives every crash: containers, marker,
 * lock, history, the agent's job. Processes come and go.
 */

export interface World {
  clock: VirtualClock;
  fake: FakeEngine;
  agent: FakeAgent;
  /** Whom the controller speaks to: `agent`, where a world does not put a real one in its place. */
  host: AgentPort;
  markers: MarkerPlace<Marker>;
  history: Map<string, { run: OpenRun; result: RunResult | null }>;
  freezer: Freezer;
  /** The guest is shutting down. */
  shutdown: { isUnderWay: boolean; bootId: string };
  /** How often the next marker writes fail. */
  failures: { markerWrites: number; markerErases: number };
  /** A file system does not come to the end of a sync. */
  syncHangs: boolean;
  /** Aborts when somebody sends SIGTERM to the run. */
  stop: AbortController;
  bounds: QuiesceBounds;
  policy: QuiescePolicy;
  /** The run was begun by the agent's `due`, by nobody's hand. */
  onlyIfDue: boolean;
  /** What was broken on the way, in words. */
  violations: string[];
  /** What had a process when the host took its snapshot. */
  runningAtSnapshot: string[] | null;
  /** The guest as the snapshot holds it. */
  snapshot: { containers: ContainerSpec[]; markers: MarkerPlace<Marker> } | null;
  grades: Grade[];
  lock: LockPlace;
}

interface LockPlace {
  holder: RunHolder | null;
  lives: Map<number, Doom>;
  nextPid: number;
}

export interface Scenario {
  name: string;
  containers: () => ContainerSpec[];
  /** Arranges what is special. Called before the run. */
  arrange?: (world: World) => void;
  /** What the host does once it is told that the apps are down. Default: proves at once, then done. */
  host?: (world: World) => void;
  bounds?: Partial<QuiesceBounds>;
}

/** Moves the job to `snapshotted`, remembering what ran. */
export function snapshot(world: World): void {
  world.runningAtSnapshot = world.fake.running();
  world.snapshot = { containers: world.fake.afterPowerCut(), markers: world.markers.fork() };
  world.agent.move({ phase: 'snapshotted', proof: 'pre-restart' });
}

export function proveAndEnd(world: World): void {
  world.clock.after(150, () => snapshot(world));
  world.clock.after(4_000, () => world.agent.move({ phase: 'done', volid: 'bk:backup/1' }));
}

export function makeWorld(scenario: Scenario, clock: VirtualClock = virtualClock()): World {
  const fake = fakeEngine(clock);
  const host = scenario.host ?? proveAndEnd;
  const agent = fakeAgent({ clock, onQuiesced: () => host(world) });
  const world: World = {
    clock,
    fake,
    agent,
    host: agent,
    markers: markerPlace(marker),
    history: new Map(),
    freezer: { untilMs: 0 },
    shutdown: { isUnderWay: false, bootId: 'boot-1' },
    failures: { markerWrites: 0, markerErases: 0 },
    syncHangs: false,
    stop: new AbortController(),
    bounds: { ...defaultBounds, ...scenario.bounds },
    policy: { stacks: { proxy: { quiesce: 'keep' } } },
    onlyIfDue: false,
    violations: [],
    runningAtSnapshot: null,
    snapshot: null,
    grades: [],
    lock: { holder: null, lives: new Map(), nextPid: 100 },
  };
  for (const spec of scenario.containers()) fake.add(spec);
  scenario.arrange?.(world);
  return world;
}

/**
 * The world of what was restored from the snapshot, at its first boot. Beside its original it is refused as a copy; over
 * it, it is the guest from now on, whose run has been reported already.
 */
export function restoredWorld(original: World, where: 'beside' | 'over'): World | null {
  if (original.snapshot === null) return null;
  const { containers, markers } = original.snapshot;
  // A day later: no start of the copy has a time that the original knew.
  const world = makeWorld(
    { name: 'restored', containers: () => [] },
    virtualClock(original.clock.nowMs() + 86_400_000),
  );
  world.markers = markers.fork();
  world.shutdown.bootId = 'boot-of-the-copy';
  for (const spec of containers) world.fake.add(spec);
  world.fake.comeUp();
  if (where === 'beside') world.agent.fail('report', () => agentError('restored_copy'));
  else world.agent.move({ phase: 'done', volid: 'bk:backup/1' });
  const owed = [...original.history.values()][0];
  if (owed !== undefined) world.history.set(owed.run.runId, { run: owed.run, result: null });
  return world;
}

/** A process in this world: its ports, and the life that may end at `point`. */
export function newProcess(world: World, point: CrashPoint | null): { ports: RunPorts; life: Doom } {
  const { lock, clock } = world;
  const pid = lock.nextPid++;
  const onDeath = (): void => {
    if (lock.holder?.pid === pid) lock.holder = null;
    lock.lives.delete(pid);
  };
  const life = doom(point, clock, world.freezer, onDeath, clock.fired);
  lock.lives.set(pid, life);
  return { life, ports: doomedPorts(worldPorts(world, pid), life) };
}

function worldPorts(world: World, pid: number): RunPorts {
  const { clock, fake, host, history, shutdown, failures } = world;
  const store = world.markers.open();
  return {
    clock,
    agent: {
      ...host,
      report: async (jobId, body, options) => {
        const answer = await host.report(jobId, body, options);
        world.grades.push(body.grade);
        return answer;
      },
    },
    engine: {
      ...fake.engine,
      stop: async (id, request) => {
        const read = await store.read();
        const isOwed =
          read.kind === 'present' ? read.value.debts.some((debt) => debt.id === id) : read.kind !== 'absent';
        if (!isOwed) world.violations.push(`${id} was stopped without a durable marker that names it`);
        return await fake.engine.stop(id, request);
      },
    },
    markers: {
      ...store,
      readNewer: store.read,
      write: async (value) => {
        if (failures.markerWrites > 0) {
          failures.markerWrites -= 1;
          throw new Failure('state_unwritable', { message: 'no space left on device', hint: 'df' });
        }
        await store.write(value);
      },
      erase: async () => {
        if (failures.markerErases > 0) {
          failures.markerErases -= 1;
          throw new Failure('state_unwritable', { message: 'read-only file system', hint: 'dmesg' });
        }
        await store.erase();
      },
    },
    lock: lockOf(world, pid),
    guard: { start: async () => ({ arm: () => undefined, disarm: () => undefined }) },
    history: {
      begin: async (run) => void history.set(run.runId, { run, result: null }),
      end: async (run, result) => void history.set(run.runId, { run, result }),
      unfinished: async () => [...history.values()].filter(({ result }) => result === null).map(({ run }) => run),
    },
    system: {
      newRunId: () => `run-${pid}`,
      bootId: async () => shutdown.bootId,
      isStopping: async () => shutdown.isUnderWay,
      syncData: async () => await (world.syncHangs ? new Promise(() => undefined) : clock.sleep(5)),
      ownContainerId: async () => null,
    },
    progress: () => undefined,
  };
}

function lockOf({ lock }: World, pid: number): LockPort {
  return {
    acquire: async (what, runId) => {
      if (lock.holder !== null) return { kind: 'busy', holder: lock.holder };
      lock.holder = { pid, startTime: '1', what, runId, deadlineMs: null };
      return {
        kind: 'held',
        lock: {
          inheritFds: [],
          update: async (change) => {
            if (lock.holder?.pid === pid) lock.holder = { ...lock.holder, ...change };
          },
          release: async () => {
            if (lock.holder?.pid === pid) lock.holder = null;
          },
        },
      };
    },
    isAlive: async (holder) => lock.lives.has(holder.pid),
    endHolder: async (holder) => lock.lives.get(holder.pid)?.kill(),
    endChildren: async () => undefined,
  };
}

export interface Ended<E> {
  /** Null: it died. */
  end: E | null;
  trace: readonly string[];
  moments: readonly Moment[];
}

/** `backup now` in this world, to its end or its death. */
export async function simulateBackup(world: World, point: CrashPoint | null): Promise<Ended<BackupEnd>> {
  return await world.clock.run(beginBackup(world, point));
}

/** The same where somebody else moves the clock on. */
export async function beginBackup(world: World, point: CrashPoint | null): Promise<Ended<BackupEnd>> {
  const { ports, life } = newProcess(world, point);
  const work = runBackup(ports, {
    policy: world.policy,
    bounds: world.bounds,
    storage: null,
    jobId: null,
    onlyIfDue: world.onlyIfDue,
    wait: true,
    stop: world.stop.signal,
    wantedGrade: 'app-consistent',
  });
  return await endOf(work, life);
}

/** `recover` in this world, to its end or its death. */
export async function simulateRecover(
  world: World,
  point: CrashPoint | null = null,
  forgive: string | null = null,
): Promise<Ended<RecoverEnd>> {
  return await world.clock.run(beginRecover(world, point, forgive));
}

/** The same where somebody else moves the clock on. */
export async function beginRecover(
  world: World,
  point: CrashPoint | null = null,
  forgive: string | null = null,
): Promise<Ended<RecoverEnd>> {
  const { ports, life } = newProcess(world, point);
  const work = recover(ports, { bounds: world.bounds, forgive, stop: new AbortController().signal });
  return await endOf(work, life);
}

/** The end of a process, or null: it died. Somebody must move the clock on. */
export async function endOf<E>(work: Promise<E>, life: Doom): Promise<Ended<E>> {
  work.catch(() => undefined); // A death in an effect that cannot wait ends it with an error that nobody hears.
  const first = await Promise.race([life.died, work.then((end) => ({ end }))]);
  // A process that is over holds nothing, whichever way it went.
  life.kill();
  return { end: first === 'died' ? null : first.end, trace: [...life.trace], moments: [...life.moments] };
}
