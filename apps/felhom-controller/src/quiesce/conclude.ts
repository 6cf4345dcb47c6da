import type { JobStatus } from '@felhom/guest-api/schema.ts';
import { Failure, worstExit } from '@felhom/kernel/failure.ts';
import { type AppsDown, killed, stillUp } from './apps-down.ts';
import { appsDown } from './apps-down-failure.ts';
import type { AppsUp } from './apps-up.ts';
import type { BackupEnd } from './end.ts';
import type { HealthEnd } from './health.ts';
import { stackOf } from './marker.ts';
import type { KeptContainer, OwedContainer, RunResult, StackResult } from './result.ts';
import type { Run } from './run.ts';

/** What the end of a run is made of. */
export interface Conclusion {
  outcome: RunResult['outcome'];
  grade: RunResult['grade'];
  gradeReason: string | null;
  status: JobStatus | null;
  down: AppsDown | null;
  up: AppsUp | null;
  health: HealthEnd | null;
  /** In the order of their weight for the exit code. */
  failures: readonly Failure[];
}

/** A run in which no app was touched. */
export const nothing: Omit<Conclusion, 'outcome' | 'failures'> = {
  grade: null,
  gradeReason: null,
  status: null,
  down: null,
  up: null,
  health: null,
};

/** The result that `--json` prints and history keeps, with the exit code that goes with it. */
export function concludeRun(run: Run, conclusion: Conclusion): BackupEnd {
  const { status, down, up, health } = conclusion;
  const failures = allFailures(run, conclusion);
  const exit = failures.length === 0 ? gradeExit(run, conclusion) : worstExit(failures.map((failure) => failure.exit));
  const failure = failures.find((each) => each.exit === exit) ?? null;
  const result: RunResult = {
    schema: 'felhom.backup/1',
    run_id: run.id,
    job_id: run.jobId,
    outcome: conclusion.outcome,
    grade: conclusion.grade,
    grade_reason: conclusion.gradeReason,
    mode: status?.mode ?? null,
    gate: status?.gate ?? null,
    target: { storage: status?.storage ?? null, type: status?.storage_type ?? null },
    volid: status?.volid ?? null,
    size_bytes: status?.size_bytes ?? null,
    started_at: new Date(run.startedAtMs).toISOString(),
    duration_ms: round(run.ports.clock.monotonicMs() - run.startedMonotonicMs),
    downtime_ms: down === null || up === null ? null : overallDowntime(down, up),
    stacks: down === null ? [] : stackResults(down, up, health),
    kept_running: down === null ? [] : keptRunning(down),
    excluded: status?.excluded ?? [],
    timeline: run.timeline,
    owed: allOwed(run, up),
    warnings: run.warnings,
    error: failure === null ? null : failure.toJSON(),
  };
  return { result, exit, failure };
}

function gradeExit({ options }: Run, { outcome, grade }: Conclusion): number {
  return outcome === 'done' && options.wantedGrade === 'app-consistent' && grade !== 'app-consistent' ? 5 : 0;
}

function allFailures(run: Run, { up, health, failures }: Conclusion): Failure[] {
  const all = [...failures];
  const owed = allOwed(run, up);
  if (owed.length > 0) all.unshift(appsDown(owed));
  if (health !== null && health.unhealthy.length > 0) {
    run.warn(`healthy before, but not again after the backup: ${health.unhealthy.join(', ')}`);
    all.push(
      new Failure('operation_failed', {
        message: `the apps run again, but were healthy before and are not now: ${health.unhealthy.join(', ')}`,
        hint: `Look at: docker logs --tail 50 ${health.unhealthy[0] ?? ''}`,
      }),
    );
  }
  return all;
}

function allOwed({ owedBefore }: Run, up: AppsUp | null): OwedContainer[] {
  return [...owedBefore, ...(up?.owed ?? [])];
}

/** Monotonic, by stack: its first stop command. */
function stopsBegan({ plan, stops }: AppsDown): Map<string, number> {
  const began = new Map<string, number>();
  for (const container of plan.stop) {
    const sentAtMs = stops.get(container.id)?.sentAtMs ?? null;
    const known = began.get(stackOf(container));
    if (sentAtMs !== null && (known === undefined || sentAtMs < known)) began.set(stackOf(container), sentAtMs);
  }
  return began;
}

function overallDowntime(down: AppsDown, up: AppsUp): number | null {
  const began = [...stopsBegan(down).values()];
  const ended = [...up.upAtMs.values()];
  return began.length === 0 || ended.length === 0 || up.owed.length > 0
    ? null
    : round(Math.max(...ended) - Math.min(...began));
}

function stackResults(down: AppsDown, up: AppsUp | null, health: HealthEnd | null): StackResult[] {
  const began = stopsBegan(down);
  const owed = new Set(up?.owed.map(({ stack }) => stack));
  const unclean = new Set(stillUp(down).map(({ id }) => id));
  const killedHere = new Set(killed(down).map(({ id }) => id));
  return [...new Set(down.plan.stop.map(stackOf))].map((name) => {
    const own = down.plan.stop.filter((container) => stackOf(container) === name);
    const beganMs = began.get(name);
    const since = (endMs: number | undefined): number | null =>
      beganMs === undefined || endMs === undefined || owed.has(name) ? null : round(endMs - beganMs);
    return {
      name,
      containers: own.length,
      clean_stop: down.seen.size > 0 && own.every(({ id }) => !unclean.has(id) && !killedHere.has(id)),
      killed: own.filter(({ id }) => isKilled(down, id)).map((container) => container.name),
      slowest_stop: slowestStop(down, own),
      downtime_ms: since(up?.upAtMs.get(name)),
      healthy_ms: since(health?.healthyAtMs.get(name)),
    };
  });
}

function isKilled({ seen }: AppsDown, id: string): boolean {
  const state = seen.get(id);
  return state != null && (state.exitCode === 137 || state.oomKilled);
}

function slowestStop(
  { stops }: AppsDown,
  containers: readonly { id: string; name: string }[],
): StackResult['slowest_stop'] {
  let slowest: StackResult['slowest_stop'] = null;
  for (const { id, name } of containers) {
    const stop = stops.get(id);
    if (stop?.sentAtMs == null || stop.answeredAtMs === null) continue;
    const ms = round(stop.answeredAtMs - stop.sentAtMs);
    if (slowest === null || ms > slowest.ms) slowest = { container: name, ms };
  }
  return slowest;
}

/** What kept running, on purpose or because it did not stop. */
export function keptRunning(down: AppsDown): KeptContainer[] {
  const stuck = stillUp(down).map((container) => ({
    stack: stackOf(container),
    container: container.name,
    why: 'still-running',
  }));
  return [...down.plan.kept, ...stuck];
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
