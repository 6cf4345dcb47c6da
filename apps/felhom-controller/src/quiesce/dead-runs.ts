import type { OpenRun, RecoverPorts } from './ports.ts';
import { reportBody, reportRun } from './report.ts';
import type { OwedContainer, RunResult } from './result.ts';
import { words } from './run.ts';

const why = 'the run ended before its time; recovery brought the apps back';
const retryMs = 500;

/**
 * Writes the end of every run that began and never ended, and reports it as crash-consistent. A
 * restored copy is told apart by the agent: its run is another guest's past and is not reported.
 */
export async function closeDeadRuns(
  ports: RecoverPorts,
  owed: readonly OwedContainer[],
  warn: (text: string) => void,
): Promise<void> {
  try {
    for (const run of await ports.history.unfinished()) {
      const result = deadResult(run, owed);
      if (run.jobId !== null) {
        const told = await reportRun(ports, run.jobId, reportBody(result), retryMs);
        if (told.kind !== 'accepted') warn(`the run ${run.runId} was not reported: ${told.why}`);
      }
      await ports.history.end(run, result);
    }
  } catch (error) {
    warn(`the run history could not be read: ${words(error)}`);
  }
}

function deadResult(run: OpenRun, owed: readonly OwedContainer[]): RunResult {
  return {
    schema: 'felhom.backup/1',
    run_id: run.runId,
    job_id: run.jobId,
    outcome: 'interrupted',
    grade: 'crash-consistent',
    grade_reason: why,
    mode: null,
    gate: null,
    target: { storage: null, type: null },
    volid: null,
    size_bytes: null,
    started_at: new Date(run.startedAtMs).toISOString(),
    duration_ms: 0,
    downtime_ms: null,
    stacks: [],
    kept_running: [],
    excluded: [],
    timeline: [],
    owed: [...owed],
    warnings: [],
    error: { code: 'backup_failed', message: why, hint: 'Take another one: felhom-controller backup now' },
  };
}
