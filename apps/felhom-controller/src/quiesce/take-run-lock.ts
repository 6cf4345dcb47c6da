import { Failure } from '@felhom/kernel/failure.ts';
import type { HeldLock, RunHolder, RunPorts } from './ports.ts';

export interface RunLockRequest {
  what: RunHolder['what'];
  runId: string;
  /** How long a recovery or a pass of reconcile is waited for. */
  patienceMs: number;
  stop: AbortSignal;
}

const lookAgainMs = 50;

/**
 * The run lock of the engine. A recovery or a pass of reconcile is waited for: most last moments, and an open gate, or the turn
 * of a timer, is lost by a run that gives up at once. @throws Failure `busy` where anybody else has it, or for too long.
 */
export async function takeRunLock(
  { lock, clock }: Pick<RunPorts, 'lock' | 'clock'>,
  { what, runId, patienceMs, stop }: RunLockRequest,
): Promise<HeldLock> {
  const endMs = clock.monotonicMs() + patienceMs;
  for (;;) {
    const answer = await lock.acquire(what, runId);
    if (answer.kind === 'held') return answer.lock;
    const { holder } = answer;
    if (holder?.what !== 'recover' || stop.aborted || clock.monotonicMs() >= endMs) throw busy(holder);
    await clock.sleep(lookAgainMs, stop);
  }
}

function busy(holder: RunHolder | null): Failure {
  return new Failure('busy', {
    message: `another run is under way${holder === null ? '' : ` (process ${holder.pid}, ${holder.what})`}; nothing was stopped or changed`,
    hint: 'Wait for it to end, or see what it does: felhom-controller status',
  });
}
