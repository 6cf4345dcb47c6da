import { Failure } from '@felhom/kernel/failure.ts';
import type { HeldLock, RunPorts } from '../quiesce/ports.ts';

/** Works under the run lock of the engine. @throws Failure `busy` where another run has it; nothing was touched. */
export async function holdingRunLock<T>(
  { lock, system }: Pick<RunPorts, 'lock' | 'system'>,
  work: (held: HeldLock, runId: string) => Promise<T>,
): Promise<T> {
  const runId = system.newRunId();
  const answer = await lock.acquire('snapshot', runId);
  if (answer.kind === 'busy') {
    const who = answer.holder === null ? '' : ` (process ${answer.holder.pid}, ${answer.holder.what})`;
    throw new Failure('busy', {
      message: `another run is under way${who}; nothing was touched`,
      hint: 'Wait for it to end, or see what it does: felhom-controller status',
    });
  }
  try {
    return await work(answer.lock, runId);
  } finally {
    await answer.lock.release();
  }
}
