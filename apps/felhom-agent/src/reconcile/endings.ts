import type { Clock } from '@felhom/kernel/clock.ts';

/*
 * How a pass comes to its end, in two steps that are told by two signals.
 *
 * - closing: nothing more is begun; what was begun is followed under its lane. When the patience of a pass in a loop is
 *   over, and at the latest with
 * - leaving: tasks are followed no more; the journal has them, and the next start finds them there. `stop_grace` after
 *   we were asked to end.
 */

/** A signal to come. `dispose` lets go of its timer; the signal is silent from then on. */
export interface Ending {
  readonly signal: AbortSignal;
  dispose(): void;
}

/** Aborts `graceMs` after `stop` does. */
export function graceAfter(clock: Pick<Clock, 'sleep'>, stop: AbortSignal, graceMs: number): Ending {
  const { ending, sleepThenEnd, over } = endingOf(clock);
  const begin = (): void => sleepThenEnd(graceMs);
  if (stop.aborted) begin();
  else stop.addEventListener('abort', begin, { once: true, signal: over.signal });
  return { signal: ending.signal, dispose: () => over.abort() };
}

/** Aborts after `patienceMs`, or at once when `leaving` does. null: `leaving` alone. */
export function patienceUntil(clock: Pick<Clock, 'sleep'>, leaving: AbortSignal, patienceMs: number | null): Ending {
  const { ending, sleepThenEnd, over } = endingOf(clock);
  if (leaving.aborted) ending.abort();
  else leaving.addEventListener('abort', () => ending.abort(), { once: true, signal: over.signal });
  if (patienceMs !== null) sleepThenEnd(patienceMs);
  return { signal: ending.signal, dispose: () => over.abort() };
}

function endingOf(clock: Pick<Clock, 'sleep'>): {
  ending: AbortController;
  over: AbortController;
  sleepThenEnd: (ms: number) => void;
} {
  const [ending, over] = [new AbortController(), new AbortController()];
  const sleepThenEnd = (ms: number): void =>
    void clock.sleep(ms, over.signal).then(() => {
      if (!over.signal.aborted) ending.abort();
    });
  return { ending, over, sleepThenEnd };
}
