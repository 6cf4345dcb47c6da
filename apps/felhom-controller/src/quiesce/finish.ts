import { type Conclusion, concludeRun } from './conclude.ts';
import type { BackupEnd } from './end.ts';
import { followJob } from './follow.ts';
import { watchHealth } from './health.ts';
import type { JobWatch } from './job-watch.ts';
import { reportBody, reportRun } from './report.ts';
import type { RunResult } from './result.ts';
import type { Run } from './run.ts';

/**
 * Follows the job with the apps up, watches their health meanwhile, and reports. Where an app could not be brought back
 * nothing is followed: an archive takes hours, and nobody else can settle what is owed while this run holds the lock.
 */
export async function finish(
  run: Run,
  watch: JobWatch,
  sofar: Omit<Conclusion, 'outcome' | 'failures' | 'health'>,
): Promise<BackupEnd> {
  const { engine, clock, agent } = run.ports;
  const wait = run.options.wait && run.owedBefore.length + (sofar.up?.owed.length ?? 0) === 0;
  const notWaited: { outcome: RunResult['outcome']; failure: null } = { outcome: 'running', failure: null };
  const [followed, health] = await Promise.all([
    wait ? followJob(run, watch, sofar.gradeReason) : notWaited,
    sofar.up === null || !wait
      ? null
      : watchHealth({ engine, clock }, sofar.up.paid, run.options.bounds, run.options.stop),
  ]);
  run.mark(followed.outcome);
  const status = watch.view().status;
  const isGraded = followed.outcome === 'done' || followed.outcome === 'running';
  const end = concludeRun(run, {
    ...sofar,
    ...(isGraded ? {} : { grade: null }),
    status,
    health,
    outcome: followed.outcome,
    failures: followed.failure === null ? [] : [followed.failure],
  });
  if (isGraded && run.jobId !== null) {
    const reported = await reportRun(
      { agent, clock },
      run.jobId,
      reportBody(end.result),
      run.options.bounds.pollRetryMs,
    );
    if (reported.kind !== 'accepted')
      run.warn(`the host was not told how the apps did (${reported.why}): it calls this backup crash-consistent`);
  }
  return end;
}
