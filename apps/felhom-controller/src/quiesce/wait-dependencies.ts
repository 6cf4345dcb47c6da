import type { Clock } from '@felhom/kernel/clock.ts';
import type { ContainerState, DependencyCondition, Engine } from '../engine/engine.ts';

/** How often health is looked at while a start waits for it. Docker tells health no sooner than its own interval. */
const lookEveryMs = 50;

export interface NeededContainer {
  tracker: { id: string; paid: string | null };
  condition: DependencyCondition;
}

/**
 * Waits until each needed container is as its label asks: healthy, or completed. Bounded: past
 * `boundMs`, or when docker does not answer, the dependent is started anyway.
 */
export async function waitForDependencies(
  { engine, clock }: { engine: Engine; clock: Clock },
  needs: readonly NeededContainer[],
  boundMs: number,
): Promise<void> {
  const waited = needs.filter(({ tracker, condition }) => condition !== 'service_started' && tracker.paid !== null);
  if (waited.length === 0) return;
  const endMs = clock.monotonicMs() + boundMs;
  while (clock.monotonicMs() < endMs) {
    const states = await engine.inspect(waited.map(({ tracker }) => tracker.id)).catch(() => null);
    if (states === null) return;
    if (waited.every(({ condition }, index) => isAsAsked(states[index] ?? null, condition))) return;
    await clock.sleep(lookEveryMs);
  }
}

function isAsAsked(state: ContainerState | null, condition: DependencyCondition): boolean {
  if (state === null) return true;
  if (condition === 'service_completed_successfully') return state.status === 'exited';
  // Down, or without a check: there is nothing to wait for.
  return state.status !== 'running' || state.health.status === 'none' || state.health.status === 'healthy';
}
