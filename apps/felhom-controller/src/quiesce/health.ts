import type { Clock } from '@felhom/kernel/clock.ts';
import type { Engine } from '../engine/engine.ts';
import type { QuiesceBounds } from './bounds.ts';
import { stackOf } from './marker.ts';
import type { PaidDebt } from './pay.ts';

const lookEveryMs = 250;

export interface HealthEnd {
  /** Monotonic, by stack: when every container that was healthy before was healthy again. */
  healthyAtMs: ReadonlyMap<string, number>;
  /** Names of those that were healthy before and are not within their own start period. */
  unhealthy: string[];
}

/** Watches, after payment, what was healthy before: each by its own start period. */
export async function watchHealth(
  { engine, clock }: { engine: Engine; clock: Clock },
  paid: readonly PaidDebt[],
  bounds: Pick<QuiesceBounds, 'healthMarginMs'>,
  stop: AbortSignal,
): Promise<HealthEnd> {
  const began = clock.monotonicMs();
  const healthyAtMs = new Map<string, number>();
  let open = paid.filter(({ debt, how }) => debt.was_healthy && how !== 'untouched');
  const unhealthy: string[] = [];
  while (open.length > 0 && !stop.aborted) {
    const states = await engine.inspect(open.map(({ id }) => id)).catch(() => []);
    const nowMs = clock.monotonicMs();
    open = open.filter(({ debt }, index) => {
      if (states[index]?.health.status === 'healthy') {
        healthyAtMs.set(stackOf(debt), nowMs);
        return false;
      }
      if (nowMs - began < debt.health_limit_ms + bounds.healthMarginMs) return true;
      unhealthy.push(debt.name);
      return false;
    });
    if (open.length > 0) await clock.sleep(lookEveryMs, stop);
  }
  const missing = new Set([
    ...open.map(({ debt }) => stackOf(debt)),
    ...paid.filter(({ debt }) => unhealthy.includes(debt.name)).map(({ debt }) => stackOf(debt)),
  ]);
  for (const stack of missing) healthyAtMs.delete(stack);
  return { healthyAtMs, unhealthy };
}
