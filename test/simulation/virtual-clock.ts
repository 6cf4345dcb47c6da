import type { Clock } from '@felhom/kernel/clock.ts';

/*
 * Time for simulations. It stands still while anything can still happen and then jumps to the next timer, so that a
 * run over hours takes milliseconds and is the same every time. What it drives must wait on nothing but promises of
 * its own and timers of this clock.
 */
export interface VirtualClock extends Clock {
  /** Calls `action` in `ms`; the answer takes that back. Part of the world: no process owns it. */
  after(ms: number, action: () => void): () => void;
  /** Moves time on whenever nothing else can happen, until `work` is settled. Throws when nothing is left that could settle it. */
  run<T>(work: Promise<T>): Promise<T>;
  /** Lets `ms` pass. */
  pass(ms: number): Promise<void>;
  /** How many timers have fired: between two equal counts nothing happened in the world by itself. */
  fired(): number;
  /** Wall time alone jumps, as after a freeze or a step of NTP. */
  jump(ms: number): void;
}

interface Timer {
  atMs: number;
  order: number;
  fire: () => void;
}

export function virtualClock(startMs = Date.UTC(2026, 10, 20, 1, 0, 0)): VirtualClock {
  let monotonicMs = 0;
  let wallOffsetMs = startMs;
  let order = 0;
  let timers: Timer[] = [];
  let fired = 0;

  const after = (ms: number, fire: () => void): (() => void) => {
    const timer: Timer = { atMs: monotonicMs + Math.max(0, ms), order: order++, fire };
    timers.push(timer);
    return () => {
      timers = timers.filter((each) => each !== timer);
    };
  };
  const next = (): Timer | undefined => {
    let first = timers[0];
    for (const each of timers) {
      if (first !== undefined && (each.atMs < first.atMs || (each.atMs === first.atMs && each.order < first.order)))
        first = each;
    }
    return first;
  };
  /** True: a timer fired. */
  const step = (limitMs: number): boolean => {
    const timer = next();
    if (timer === undefined || timer.atMs > limitMs) return false;
    monotonicMs = timer.atMs;
    fired += 1;
    timers = timers.filter((each) => each !== timer);
    timer.fire();
    return true;
  };

  return {
    nowMs: () => Math.floor(wallOffsetMs + monotonicMs),
    monotonicMs: () => monotonicMs,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        if (signal?.aborted === true) {
          resolve();
          return;
        }
        const early = (): void => {
          cancel();
          resolve();
        };
        const cancel = after(ms, () => {
          signal?.removeEventListener('abort', early);
          resolve();
        });
        signal?.addEventListener('abort', early, { once: true });
      }),
    after,
    run: async (work) => {
      let settled = false;
      const end = (): void => {
        settled = true;
      };
      work.then(end, end);
      for (;;) {
        await drained();
        if (settled) return await work;
        if (!step(Number.POSITIVE_INFINITY))
          throw new Error(`nothing is left to happen at ${monotonicMs} ms, and the work is not done`);
      }
    },
    pass: async (ms) => {
      const endMs = monotonicMs + ms;
      await drained();
      while (step(endMs)) await drained();
      monotonicMs = endMs;
    },
    fired: () => fired,
    jump: (ms) => {
      wallOffsetMs += ms;
    },
  };
}

/** Every promise that can go on has gone on: the whole microtask queue runs before the next turn of the loop. */
function drained(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
