import type { Clock } from '@felhom/kernel/clock.ts';
import type { Engine } from '../engine/engine.ts';
import { type Dependencies, dependentsAmong } from './order.ts';

/** What became of one stop. Whether the container is down is for a look to say. */
export interface StopOutcome {
  /** Monotonic; null: never sent. */
  sentAtMs: number | null;
  /** The engine's answer is in, or the engine is known not to have taken the request any further; null: in flight, or never sent. */
  answeredAtMs: number | null;
  failure: string | null;
}

export interface StopTarget {
  id: string;
  graceMs: number;
}

export interface StopOptions {
  engine: Engine;
  clock: Clock;
  stopMarginMs: number;
  /** No further stop is sent once it aborts; those in flight are left to whoever resumes. */
  halt: AbortSignal;
  onSent?: (id: string) => void;
  onAnswered?: (id: string) => void;
}

/**
 * Stops containers side by side, each as soon as all that depend on it have been answered for:
 * dependents first. One that does not stop holds nothing up: at its grace + margin it is given up,
 * and what it needs is stopped all the same. Returns at once when halted.
 */
export async function stopAll(
  targets: readonly StopTarget[],
  dependencies: Dependencies,
  options: StopOptions,
): Promise<Map<string, StopOutcome>> {
  const outcomes = new Map<string, StopOutcome>(
    targets.map(({ id }) => [id, { sentAtMs: null, answeredAtMs: null, failure: null }]),
  );
  const dependents = dependentsAmong(dependencies);
  const tasks = new Map<string, Promise<void>>();
  const begin = (target: StopTarget): Promise<void> => {
    const known = tasks.get(target.id);
    if (known !== undefined) return known;
    const task = (async () => {
      const first = (dependents.get(target.id) ?? []).flatMap((id) => targets.filter((each) => each.id === id));
      if (first.length > 0) await Promise.all(first.map(begin));
      await stopOne(target, outcomes, options);
    })();
    tasks.set(target.id, task);
    return task;
  };
  const all = Promise.all(targets.map(begin));
  await Promise.race([all, aborted(options.halt)]);
  return new Map([...outcomes].map(([id, outcome]) => [id, { ...outcome }]));
}

async function stopOne(target: StopTarget, outcomes: Map<string, StopOutcome>, options: StopOptions): Promise<void> {
  const { engine, clock, stopMarginMs, halt, onSent, onAnswered } = options;
  const outcome = outcomes.get(target.id);
  if (halt.aborted || outcome === undefined) return;
  outcome.sentAtMs = clock.monotonicMs();
  onSent?.(target.id);
  try {
    await engine.stop(target.id, { boundMs: target.graceMs + stopMarginMs });
  } catch (error) {
    outcome.failure = error instanceof Error ? error.message : String(error);
  }
  outcome.answeredAtMs = clock.monotonicMs();
  if (!halt.aborted) onAnswered?.(target.id);
}

/** Resolves once the signal aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
