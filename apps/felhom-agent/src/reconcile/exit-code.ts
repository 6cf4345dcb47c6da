import { Interruption } from '@felhom/cli/signals.ts';
import { failures } from '@felhom/kernel/failure.ts';
import type { PassReport } from './report.ts';

/**
 * How `reconcile --once` ends. 130, 143: it was asked to end before everybody had a turn. 13: nothing was done, the plan
 * stops too much. 3: a guest failed. 4: somebody is not as declared yet, where that was asked for. Pure.
 */
export function passExitCode(
  { outcome, counts }: Pick<PassReport, 'outcome' | 'counts'>,
  { detailed, stop }: { detailed: boolean; stop: AbortSignal },
): number {
  if (stop.aborted && counts.deferred > 0)
    return stop.reason instanceof Interruption && stop.reason.signal === 'SIGTERM'
      ? failures.terminated.exit
      : failures.interrupted.exit;
  if (outcome === 'refused') return failures.policy_refused.exit;
  if (outcome === 'failed') return failures.operation_failed.exit;
  return detailed && counts.deferred > 0 ? failures.drift.exit : 0;
}
