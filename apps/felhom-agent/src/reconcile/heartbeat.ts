import type { Clock } from '@felhom/kernel/clock.ts';

/** Whether a loop still comes along, for a watchdog: it lives while its last beat is younger than `longestMs`. */
export function heartbeat(
  clock: Pick<Clock, 'monotonicMs'>,
  longestMs: number,
): { beat: () => void; isAlive: () => boolean } {
  let lastMs = clock.monotonicMs();
  return {
    beat: () => {
      lastMs = clock.monotonicMs();
    },
    isAlive: () => clock.monotonicMs() - lastMs < longestMs,
  };
}
