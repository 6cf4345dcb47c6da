import { AgentError } from '@felhom/guest-api/agent-api.ts';
import type { ReportBody } from '@felhom/guest-api/schema.ts';
import type { Clock } from '@felhom/kernel/clock.ts';
import type { AgentPort } from './ports.ts';
import type { RunResult } from './result.ts';
import { aborted } from './stop.ts';

const tries = 4;
const boundMs = 20_000;

export type ReportEnd = { kind: 'accepted' } | { kind: 'not_ours'; why: string } | { kind: 'untold'; why: string };

/** Tells the host what the apps did. Bounded; untold means that the backup stays graded as nobody reported. */
export async function reportRun(
  { agent, clock }: { agent: AgentPort; clock: Clock },
  jobId: string,
  body: ReportBody,
  retryMs: number,
): Promise<ReportEnd> {
  const limit = new AbortController();
  const done = new AbortController();
  void clock.sleep(boundMs, done.signal).then(() => limit.abort());
  let why = 'no answer in time';
  try {
    for (let attempt = 1; attempt <= tries && !limit.signal.aborted; attempt += 1) {
      try {
        await Promise.race([agent.report(jobId, body, { signal: limit.signal }), aborted(limit.signal)]);
        if (!limit.signal.aborted) return { kind: 'accepted' };
      } catch (error) {
        why = error instanceof Error ? error.message : String(error);
        if (error instanceof AgentError && error.kind === 'restored_copy') return { kind: 'not_ours', why };
        if (error instanceof AgentError && !error.outcomeUnknown && error.kind !== 'failed')
          return { kind: 'untold', why };
        await clock.sleep(retryMs * attempt, limit.signal);
      }
    }
    return { kind: 'untold', why };
  } finally {
    done.abort();
  }
}

/** The report of a finished run. */
export function reportBody(result: RunResult): ReportBody {
  return {
    run_id: result.run_id,
    grade: result.grade ?? 'crash-consistent',
    grade_reason: result.grade_reason?.slice(0, 1024) ?? null,
    downtime_ms: result.downtime_ms,
    kept_running: result.kept_running
      .slice(0, 1024)
      .map(({ stack, container, why }) => `${stack}/${container} (${why})`.slice(0, 256)),
    timeline: result.timeline.slice(0, 2048).map((entry) => ({ ...entry, event: entry.event.slice(0, 128) })),
  };
}
