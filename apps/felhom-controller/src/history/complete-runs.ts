import type { AgentApi } from '@felhom/guest-api/agent-api.ts';
import type { JobStatus } from '@felhom/guest-api/schema.ts';
import type { RunResult } from '../quiesce/result.ts';
import type { History } from './history.ts';

const newest = 20;
const answerMs = 5_000;

/**
 * Ends the record of every run that was not waited for (`--no-wait`, or ended by a signal after the
 * snapshot) and whose job has ended by now. Best effort: an agent that does not answer leaves the records
 * as they are for the next time, and a history that cannot be read or written is told to `warn`.
 */
export async function completeRuns(
  history: Pick<History, 'list' | 'end'>,
  agent: Pick<AgentApi, 'status'>,
  warn: (text: string) => void,
): Promise<void> {
  try {
    for (const { run, result } of await history.list(newest)) {
      if (result?.outcome !== 'running' || result.job_id === null) continue;
      const status = await statusOf(agent, result.job_id);
      const ended = status === null ? null : completedBy(result, status);
      if (ended !== null) await history.end(run, ended);
    }
  } catch (error) {
    warn(`the run history could not be completed: ${error instanceof Error ? error.message : String(error)}`);
  }
}

async function statusOf(agent: Pick<AgentApi, 'status'>, jobId: string): Promise<JobStatus | null> {
  try {
    return await agent.status(jobId, { signal: AbortSignal.timeout(answerMs) });
  } catch {
    // Whatever the reason: what is known is on the record already, and the next time asks again.
    return null;
  }
}

/** The result with the end of its job, or null while that has not come. */
export function completedBy(result: RunResult, status: JobStatus): RunResult | null {
  const { phase, mode, volid, size_bytes, excluded, error } = status;
  if (phase !== 'done' && phase !== 'failed' && phase !== 'cancelled') return null;
  const told = { ...result, mode, volid, size_bytes, excluded };
  if (phase === 'done') return { ...told, outcome: 'done', error: null };
  const message = `${error?.message ?? `the backup was ${phase}`}; the apps are running`;
  const hint = error?.hint ?? 'Look at the job on the host: felhom-agent backup status';
  return {
    ...told,
    outcome: phase === 'failed' ? 'failed' : 'aborted',
    grade: null,
    grade_reason: null,
    error: { code: 'backup_failed', message, hint },
  };
}
