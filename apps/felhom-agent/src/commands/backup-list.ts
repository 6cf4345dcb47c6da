import { formatBytes } from '@felhom/cli/quantity.ts';
import { readJournal } from '@felhom/durable/journal.ts';
import { isOpen, type Job, jobRecord, replay } from '../backup/job.ts';
import { gradeOf, readMark } from '../backup/notes.ts';
import { policiesOf } from '../config.ts';
import { loadAgentConfig, loadConfig } from '../load-config.ts';
import { guestsFile, journalPath } from '../state-files.ts';
import type { CommandContext } from './context.ts';

/** `backup status`: jobs as the journal has them. Asks nobody. */
export async function backupStatus(context: CommandContext, vmids: readonly number[]): Promise<void> {
  const { config } = await loadAgentConfig(context.flags.config);
  const { records, problems } = await readJournal({ path: journalPath(config.state), schema: jobRecord });
  const jobs = [...replay(records).values()];
  const shown =
    vmids.length === 0 ? jobs.filter(isOpen) : vmids.flatMap((vmid) => jobs.findLast((job) => job.vmid === vmid) ?? []);
  const rows = shown.map(toRow);
  for (const problem of problems) context.reporter.say(problem);
  context.reporter.result(
    { schema: 'felhom.jobs/1', jobs: rows, problems },
    () =>
      rows.map(jobLine).join('\n') ||
      (vmids.length === 0 ? 'no backup is under way' : 'no backup of that guest is on record'),
  );
}

function toRow(job: Job) {
  const { grade, reason } = gradeOf(job);
  return {
    vmid: job.vmid,
    job_id: job.job_id,
    origin: job.origin,
    phase: job.phase,
    opened_at: job.opened_at,
    ended_at: job.ended_at,
    gate: job.gate,
    mode: job.mode,
    storage: job.storage,
    upid: job.upid,
    volid: job.volid,
    grade: job.phase === 'done' ? grade : null,
    grade_reason: job.phase === 'done' ? reason : null,
    guest_owed: job.guest_owed,
    notes: job.notes,
    error: job.error,
  };
}

function jobLine(row: ReturnType<typeof toRow>): string {
  const grade = row.grade === null ? '' : `, ${row.grade}${row.grade_reason === null ? '' : ` (${row.grade_reason})`}`;
  const error = row.error === null ? '' : `\n  ${row.error.message}\n  ${row.error.hint}`;
  // What a failed backup was to be called need not be there.
  const place = (row.phase === 'failed' ? null : row.volid) ?? row.upid;
  return `guest ${row.vmid}: ${row.phase}${grade}, asked for by ${row.origin}, ${row.opened_at}, job ${row.job_id}${place === null ? '' : `\n  ${place}`}${error}`;
}

/** `backup list`: what lies on the storages of the guests' policies. */
export async function backupList(context: CommandContext, vmids: readonly number[]): Promise<void> {
  const { config, guests } = await loadConfig(context.flags.config);
  const known = await knownVmids(config.state, guests.keys());
  const wanted = vmids.length === 0 ? known : vmids;
  const storages = new Set(
    wanted.flatMap((vmid) => policiesOf(config, guests.get(vmid)).map((policy) => policy.storage)),
  );
  const { openClient } = await import('../open-client.ts');
  const client = await openClient(config);
  try {
    const listed = await Promise.all([...storages].map(async (name) => await client.storage.backups(name)));
    const backups = listed
      .flat()
      .filter((item) => wanted.includes(item.vmid))
      .toSorted((left, right) => right.createdSeconds - left.createdSeconds)
      .map((item) => {
        const mark = readMark(item.notesFirstLine);
        return {
          vmid: Number(item.vmid),
          volid: item.volid,
          storage: item.storage,
          storage_type: item.storageType,
          at: new Date(item.createdSeconds * 1000).toISOString(),
          size_bytes: item.sizeBytes,
          grade: mark?.grade ?? null,
          coverage: mark?.coverage ?? null,
          job_id: mark?.jobId ?? null,
          protected: item.protected,
        };
      });
    context.reporter.result(
      { schema: 'felhom.backup/1', backups },
      () => backups.map(backupLine).join('\n') || 'no backup lies on the storages of these guests',
    );
  } finally {
    await client.close();
  }
}

interface BackupRow {
  vmid: number;
  at: string;
  grade: string | null;
  coverage: string | null;
  size_bytes: number | null;
  volid: string;
}

function backupLine({ vmid, at, grade, coverage, size_bytes: size, volid }: BackupRow): string {
  return `${vmid}  ${at}  ${(grade ?? 'not ours').padEnd(16)}  ${(coverage ?? '-').padEnd(7)}  ${(size === null ? '-' : formatBytes(size)).padStart(9)}  ${volid}`;
}

async function knownVmids(stateDir: string, fromFiles: Iterable<number>): Promise<number[]> {
  const read = await guestsFile(stateDir).read();
  const stored = read.kind === 'present' ? read.value.guests.map((guest) => guest.vmid) : [];
  return [...new Set([...fromFiles, ...stored])].toSorted((left, right) => left - right);
}
