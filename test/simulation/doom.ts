import type { Clock } from '@felhom/kernel/clock.ts';
import type { GuardPort, RunPorts } from 'felhom-controller/quiesce/ports.ts';
import { isLook } from './crash-points.ts';

/*
 * Crashes. A doomed process counts its effects, ends before or after one of them, and then stays dead: no call of its
 * ever comes back, so no `finally` tidies up, and what it started in the world goes on without it.
 */

/** Where a process ends. `after`: the effect reaches the world, its answer nobody. */
export interface CrashPoint {
  effect: number;
  when: 'before' | 'after';
}

export interface Doom {
  effect<T>(name: string, work: () => Promise<T>): Promise<T>;
  /** For effects that cannot wait: throws where it ends. */
  effectNow(name: string, work: () => void): void;
  kill(): void;
  isDead(): boolean;
  /** Resolves when it dies. */
  readonly died: Promise<'died'>;
  /** What it did, in order. */
  readonly trace: readonly string[];
  /** For each of that, what the world had seen right before it and right after it began. */
  readonly moments: readonly Moment[];
}

/** Equal ones are the same world, for whoever comes after a death: nothing was done and nothing happened in between. */
export interface Moment {
  before: string;
  after: string;
}

/** Until when a frozen guest's processes stand still, on the monotonic scale. */
export interface Freezer {
  untilMs: number;
}

/** `happened` counts what happens in the world by itself; without it no two moments are told apart by that. */
export function doom(
  point: CrashPoint | null,
  clock: Clock,
  freezer: Freezer,
  onDeath: () => void,
  happened: () => number = () => 0,
): Doom {
  const trace: string[] = [];
  const moments: Moment[] = [];
  let acts = 0;
  let dead = false;
  let tellDeath: (word: 'died') => void = () => undefined;
  const died = new Promise<'died'>((resolve) => {
    tellDeath = resolve;
  });
  const kill = (): void => {
    if (dead) return;
    dead = true;
    onDeath();
    tellDeath('died');
  };
  const isDue = (when: CrashPoint['when']): boolean =>
    point !== null && point.when === when && trace.length === point.effect;
  const begin = (name: string): void => {
    const before = `${happened()} ${acts}`;
    if (!isLook(name)) acts += 1;
    trace.push(name);
    moments.push({ before, after: `${happened()} ${acts}` });
  };
  const thawed = async (): Promise<void> => {
    while (clock.monotonicMs() < freezer.untilMs) await clock.sleep(freezer.untilMs - clock.monotonicMs());
  };
  return {
    died,
    trace,
    moments,
    kill,
    isDead: () => dead,
    effect: async (name, work) => {
      await thawed();
      if (dead) return await never();
      if (isDue('before')) {
        kill();
        return await never();
      }
      const isLast = isDue('after');
      begin(name);
      const done = work();
      if (isLast) {
        done.catch(() => undefined); // It reached the world; nobody is left to hear how it went.
        kill();
        return await never();
      }
      try {
        const value = await done;
        await thawed();
        return dead ? await never() : value;
      } catch (error) {
        await thawed();
        if (dead) return await never();
        throw error;
      }
    },
    effectNow: (name, work) => {
      if (dead) throw new Error('dead');
      if (isDue('before')) {
        kill();
        throw new Error('dead');
      }
      const isLast = isDue('after');
      begin(name);
      work();
      if (isLast) {
        kill();
        throw new Error('dead');
      }
    },
  };
}

function never<T>(): Promise<T> {
  return new Promise(() => undefined);
}

/** The ports of a doomed process: every one of them, time included. */
export function doomedPorts(ports: RunPorts, life: Doom): RunPorts {
  const { engine, markers, lock, agent, guard, history, system, clock } = ports;
  const through = <A extends unknown[], R>(name: string, call: (...args: A) => Promise<R>) => {
    return async (...args: A): Promise<R> => await life.effect(name, async () => await call(...args));
  };
  return {
    progress: (event) => {
      if (!life.isDead()) ports.progress(event);
    },
    clock: { ...clock, sleep: async (ms, signal) => await awake(life, async () => await clock.sleep(ms, signal)) },
    engine: {
      identity: through('engine.identity', engine.identity),
      list: through('engine.list', engine.list),
      listRunning: through('engine.listRunning', engine.listRunning),
      inspect: through('engine.inspect', engine.inspect),
      stop: through('engine.stop', engine.stop),
      start: through('engine.start', engine.start),
      events: through('engine.events', engine.events),
      exec: through('engine.exec', engine.exec),
      recreate: through('engine.recreate', engine.recreate),
    },
    markers: {
      read: through('markers.read', markers.read),
      readNewer: through('markers.readNewer', markers.readNewer),
      write: through('markers.write', markers.write),
      erase: through('markers.erase', markers.erase),
      sweep: through('markers.sweep', markers.sweep),
    },
    lock: {
      acquire: through('lock.acquire', async (what, runId) => {
        const answer = await lock.acquire(what, runId);
        if (answer.kind === 'busy') return answer;
        const { update, release, inheritFds } = answer.lock;
        const own = { inheritFds, update: through('lock.update', update), release: through('lock.release', release) };
        return { kind: 'held', lock: own };
      }),
      isAlive: through('lock.isAlive', lock.isAlive),
      endHolder: through('lock.endHolder', lock.endHolder),
      endChildren: through('lock.endChildren', lock.endChildren),
    },
    agent: {
      start: through('agent.start', agent.start),
      status: through('agent.status', agent.status),
      quiesced: through('agent.quiesced', agent.quiesced),
      resumed: through('agent.resumed', agent.resumed),
      cancel: through('agent.cancel', agent.cancel),
      report: through('agent.report', agent.report),
    },
    guard: doomedGuard(guard, life),
    history: {
      begin: through('history.begin', history.begin),
      end: through('history.end', history.end),
      unfinished: through('history.unfinished', history.unfinished),
    },
    system: {
      newRunId: system.newRunId,
      bootId: system.bootId,
      isStopping: through('system.isStopping', system.isStopping),
      syncData: through('system.syncData', system.syncData),
      ownContainerId: system.ownContainerId,
    },
  };
}

function doomedGuard(guard: GuardPort, life: Doom): GuardPort {
  return {
    start: async () =>
      await life.effect('guard.start', async () => {
        const started = await guard.start();
        return {
          arm: (limitMs) => life.effectNow('guard.arm', () => started.arm(limitMs)),
          disarm: () => life.effectNow('guard.disarm', () => started.disarm()),
        };
      }),
  };
}

/** Sleep is no effect to crash at, but the dead do not wake. */
async function awake(life: Doom, work: () => Promise<void>): Promise<void> {
  await work();
  if (life.isDead()) await never();
}
