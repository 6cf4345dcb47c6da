import { createProgress } from '@felhom/cli/progress.ts';
import { formatElapsed } from '@felhom/cli/quantity.ts';
import { Interruption, type SignalWatch, watchSignals } from '@felhom/cli/signals.ts';
import { jobStatus } from '@felhom/guest-api/schema.ts';
import { Failure, failures, worstExit } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import { loadAgentConfig } from '../load-config.ts';
import type { CommandContext } from './context.ts';
import { askServe, failureOf } from './host-client.ts';

export interface BackupNowOptions {
  vmids: readonly number[];
  all: boolean;
  due: boolean;
  withoutQuiesce: boolean;
  storage: string | undefined;
  wait: boolean;
}

const startedSchema = z.object({
  started: z.array(
    z.object({
      vmid: z.number(),
      job_id: z.string().nullable(),
      quiesce: z.boolean(),
      error: z.object({ code: z.string(), message: z.string(), hint: z.string() }).nullable(),
    }),
  ),
});
const statusSchema = jobStatus.extend({
  vmid: z.number(),
  claimed: z.boolean(),
  grade: z.string(),
  grade_reason: z.string().nullable(),
  downtime_ms: z.number().nullable(),
  reported: z.boolean(),
});
type Status = z.output<typeof statusSchema>;
type Started = z.output<typeof startedSchema>['started'][number];

interface Row {
  vmid: number;
  job_id: string | null;
  outcome: 'done' | 'failed' | 'aborted' | 'started';
  grade: string | null;
  grade_reason: string | null;
  mode: string | null;
  gate: string | null;
  target: { storage: string | null; type: string | null };
  volid: string | null;
  downtime_ms: number | null;
  excluded: { mount: string; why: string }[];
  error: { code: string; message: string; hint: string } | null;
}

/** The report comes after the job's end, when the apps are back and healthy: it is waited for this long. */
const reportPatienceMs = 20_000;

/** `backup now`: asks serve, follows every job, and tells what came of each. */
export async function backupNow(context: CommandContext, options: BackupNowOptions): Promise<void> {
  checkOptions(options);
  const { config } = await loadAgentConfig(context.flags.config);
  const signals = watchSignals();
  const body = {
    ...(options.vmids.length > 0 ? { vmids: options.vmids } : {}),
    ...(options.all ? { all: true } : {}),
    ...(options.due ? { due: true } : {}),
    ...(options.withoutQuiesce ? { without_quiesce: true } : {}),
    ...(options.storage === undefined ? {} : { storage: options.storage }),
  };
  const { started } = await askServe(config.socket, {
    method: 'POST',
    path: '/host/backup',
    body,
    answer: startedSchema,
    timeoutMs: 120_000,
  });
  const rows = options.wait
    ? await followAll(context, { socket: config.socket, started, signals, claimMs: config.bounds.operator_claim })
    : started.map((each) => startedRow(each));
  context.reporter.result({ schema: 'felhom.backup/1', backups: rows }, () => text(rows, options));
  const exits = rows.map(exitOf);
  if (signals.stop.aborted) exits.push(failures[endedBy(signals)].exit);
  context.setExit(worstExit(exits));
}

function endedBy({ stop }: SignalWatch): 'interrupted' | 'terminated' {
  return stop.reason instanceof Interruption && stop.reason.signal === 'SIGINT' ? 'interrupted' : 'terminated';
}

function checkOptions(options: BackupNowOptions): void {
  const ways = [options.vmids.length > 0, options.all, options.due].filter(Boolean).length;
  if (ways === 1) return;
  throw new Failure('usage', {
    message:
      ways === 0
        ? 'no guest was named; nothing was started'
        : 'name guests, or --all, or --due, but only one of them; nothing was started',
    hint: 'felhom-agent backup now 101, or felhom-agent backup now --due',
  });
}

interface Following {
  socket: string;
  started: readonly Started[];
  signals: SignalWatch;
  claimMs: number;
}

async function followAll(context: CommandContext, { socket, started, signals, claimMs }: Following): Promise<Row[]> {
  const { reporter } = context;
  const progress = createProgress(reporter.display, { interactive: reporter.interactive, gone: signals.displayGone });
  const now = new Map<number, string>();
  try {
    return await Promise.all(
      started.map(async (each) => {
        if (each.job_id === null) return startedRow(each);
        const asked = each.quiesce
          ? `its controller is asked; without an answer within ${formatElapsed(claimMs)} it goes on crash-consistent`
          : 'no controller is asked: crash-consistent';
        progress.above(() => reporter.say(`guest ${each.vmid}: ${asked}`));
        return await followOne(socket, { ...each, job_id: each.job_id }, signals.stop, (status) => {
          now.set(
            each.vmid,
            `guest ${each.vmid} ${status.phase}${status.progress === null ? '' : ` ${status.progress} %`}`,
          );
          progress.show([...now.values()].join(' · '));
        });
      }),
    );
  } finally {
    progress.end();
  }
}

/** Follows a job to its end; Ctrl-C ends the following, not the job. A serve that restarts is waited for. */
async function followOne(
  socket: string,
  begun: Started & { job_id: string },
  stop: AbortSignal,
  show: (status: Status) => void,
): Promise<Row> {
  let after = -1;
  let endedAtMs: number | null = null;
  let silentSinceMs: number | null = null;
  let latest: Status | null = null;
  while (!stop.aborted) {
    try {
      const path = `/host/backup/status?job_id=${begun.job_id}&after=${after}&wait=${endedAtMs === null ? 20 : 2}`;
      latest = await askServe(socket, { method: 'GET', path, answer: statusSchema, timeoutMs: 40_000, signal: stop });
      silentSinceMs = null;
    } catch (error) {
      if (stop.aborted) break;
      silentSinceMs ??= performance.now();
      if (!(error instanceof Failure) || !error.retry || performance.now() - silentSinceMs > 60_000) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500));
      continue;
    }
    after = latest.seq;
    show(latest);
    if (!['done', 'failed', 'cancelled'].includes(latest.phase)) continue;
    endedAtMs ??= performance.now();
    const waitsForReport = latest.phase === 'done' && latest.claimed && !latest.reported;
    if (!waitsForReport || performance.now() - endedAtMs > reportPatienceMs) return endedRow(latest);
  }
  return latest === null ? startedRow(begun) : { ...endedRow(latest), outcome: 'started' };
}

function startedRow({ vmid, job_id, error }: Started): Row {
  return {
    vmid,
    job_id,
    outcome: error === null ? 'started' : 'aborted',
    grade: null,
    grade_reason: null,
    mode: null,
    gate: null,
    target: { storage: null, type: null },
    volid: null,
    downtime_ms: null,
    excluded: [],
    error,
  };
}

function endedRow(status: Status): Row {
  const done = status.phase === 'done';
  return {
    vmid: status.vmid,
    job_id: status.job_id,
    outcome: done ? 'done' : status.phase === 'cancelled' ? 'aborted' : 'failed',
    grade: done ? status.grade : null,
    grade_reason: done ? status.grade_reason : null,
    mode: status.mode,
    gate: status.gate,
    target: { storage: status.storage, type: status.storage_type },
    volid: status.volid,
    downtime_ms: status.downtime_ms,
    excluded: status.excluded,
    error: status.error,
  };
}

function exitOf(row: Row): number {
  if (row.outcome === 'started') return 0;
  if (row.outcome === 'done') return row.grade === 'app-consistent' ? 0 : failures.below_policy.exit;
  const exit = row.error === null ? failures.backup_failed.exit : failureOf(row.error).exit;
  // What ended a job is a failed backup to whoever asked for it, whatever ended it.
  return exit === 130 ? failures.backup_failed.exit : exit;
}

function text(rows: readonly Row[], { due }: BackupNowOptions): string {
  if (rows.length === 0)
    return due ? 'nothing is due\n' : 'no guest that is known is on this node: felhom-agent guest list\n';
  return rows.map(rowText).join('\n');
}

function rowText(row: Row): string {
  const head = `guest ${row.vmid}`;
  if (row.outcome === 'started')
    return `${head}: under way, job ${row.job_id ?? ''}\n  felhom-agent backup status ${row.vmid}`;
  if (row.outcome !== 'done')
    return `${head}: no backup: ${row.error?.message ?? row.outcome}\n  ${row.error?.hint ?? ''}`;
  const reason = row.grade_reason === null ? '' : ` (${row.grade_reason})`;
  const lines = [`${head}: ${row.grade ?? ''}${reason} backup on ${row.target.storage ?? '?'}`];
  if (row.downtime_ms !== null) lines.push(`  apps down          ${formatElapsed(row.downtime_ms)}`);
  for (const { mount, why } of row.excluded) lines.push(`  not in the backup  ${mount} (${why})`);
  if (row.volid !== null) lines.push(`  ${row.volid}`);
  return lines.join('\n');
}
