import { formatElapsed } from '@felhom/cli/quantity.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { loadConfig, locateConfig } from '../config.ts';
import type { RunRecord } from '../history/history.ts';
import { openHistory } from '../wiring.ts';
import { summaryText } from './backup-summary.ts';
import type { CommandContext } from './context.ts';
import { table } from './table.ts';

/** `backup history` */
export async function backupHistory(context: CommandContext, { limit }: { limit: number }): Promise<void> {
  const { config } = await loadConfig(locateConfig(context.flags, context.env));
  const runs = await openHistory(config).list(limit);
  context.reporter.result({ schema: 'felhom.history/1', runs: runs.map(runDocument) }, () => historyText(runs));
}

/** `backup show [run]` */
export async function backupShow(context: CommandContext, runId: string | undefined): Promise<void> {
  const { config } = await loadConfig(locateConfig(context.flags, context.env));
  const history = openHistory(config);
  const found = runId === undefined ? (await history.list(1))[0] : await history.find(runId);
  if (found === undefined) {
    throw new Failure('not_found', {
      message: 'no run is kept here yet',
      hint: 'Take a backup: felhom-controller backup now',
    });
  }
  const { run, result } = found;
  if (result === null) {
    const started = new Date(run.startedAtMs).toISOString();
    const document = { schema: 'felhom.run/1', ...runDocument(found) } as const;
    context.reporter.result(
      document,
      () => `run ${run.runId}, begun ${started}, has not ended: it runs, or felhom-controller recover closes it`,
    );
    return;
  }
  context.reporter.result(result, () => `run ${run.runId}\n${summaryText(result, null)}`);
}

function runDocument({ run, result }: RunRecord): Record<string, unknown> {
  return {
    run_id: run.runId,
    job_id: result?.job_id ?? run.jobId,
    started_at: new Date(run.startedAtMs).toISOString(),
    outcome: result?.outcome ?? null,
    grade: result?.grade ?? null,
    grade_reason: result?.grade_reason ?? null,
    storage: result?.target.storage ?? null,
    volid: result?.volid ?? null,
    downtime_ms: result?.downtime_ms ?? null,
    duration_ms: result?.duration_ms ?? null,
    error: result?.error ?? null,
  };
}

function historyText(runs: readonly RunRecord[]): string {
  if (runs.length === 0) return 'no run is kept here yet';
  const rows = runs.map(({ run, result }) => [
    run.runId,
    result?.outcome ?? 'open',
    result?.grade ?? '',
    result?.target.storage ?? '',
    result?.downtime_ms == null ? '' : formatElapsed(result.downtime_ms),
    result === null ? '' : formatElapsed(result.duration_ms),
    result?.volid ?? result?.error?.message.split('\n')[0] ?? '',
  ]);
  return table(['RUN', 'OUTCOME', 'GRADE', 'STORAGE', 'APPS DOWN', 'TOOK', 'BACKUP'], rows);
}
