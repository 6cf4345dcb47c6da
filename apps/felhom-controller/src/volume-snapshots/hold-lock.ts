import type { QuiesceBounds } from '../quiesce/bounds.ts';
import type { HeldLock, RunPorts } from '../quiesce/ports.ts';
import { takeRunLock } from '../quiesce/take-run-lock.ts';

/** Works under the run lock of the engine. @throws Failure `busy` where another run has it; nothing was touched. */
export async function holdingRunLock<T>(
  ports: Pick<RunPorts, 'lock' | 'system' | 'clock'>,
  { bounds, stop }: { bounds: Pick<QuiesceBounds, 'lockPatienceMs'>; stop: AbortSignal },
  work: (held: HeldLock, runId: string) => Promise<T>,
): Promise<T> {
  const runId = ports.system.newRunId();
  const lock = await takeRunLock(ports, { what: 'snapshot', runId, patienceMs: bounds.lockPatienceMs, stop });
  try {
    return await work(lock, runId);
  } finally {
    await lock.release();
  }
}
