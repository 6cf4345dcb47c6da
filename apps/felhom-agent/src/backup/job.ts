import { backupMode, exclusion, gateKind, grade, jobPhase, timelineEvent } from '@felhom/guest-api/schema.ts';
import { defineMachine } from '@felhom/phases/machine.ts';
import { z } from 'zod';

/**
 * A backup job as the journal holds it. A job is opened by one record and changed by others; the
 * newest value of each field counts. Nothing is ever edited: what a job is follows from the records
 * alone, so that a killed agent knows as much as the one before it.
 */
const when = z.iso.datetime();
export const jobError = z.object({ code: z.string(), message: z.string(), hint: z.string() });
export type JobError = z.infer<typeof jobError>;

export const jobReport = z.object({
  run_id: z.string(),
  grade,
  grade_reason: z.string().nullable(),
  downtime_ms: z.number().nullable(),
  kept_running: z.array(z.string()),
  timeline: z.array(timelineEvent),
  at: when,
});
export type JobReport = z.infer<typeof jobReport>;

export const jobSchema = z.object({
  job_id: z.string(),
  vmid: z.number().int(),
  origin: z.enum(['controller', 'operator', 'pve']),
  opened_at: when,
  /** The host's boot: a job of an earlier one ends as failed. */
  host_boot_id: z.string(),
  phase: jobPhase,
  seq: z.number().int(),
  gate: gateKind.nullable(),
  /** Whether a controller is asked to stop its apps. */
  quiesce: z.boolean(),
  storage: z.string().nullable(),
  storage_type: z.string().nullable(),
  run_id: z.string().nullable(),
  idempotency_key: z.string().nullable(),
  body_sha256: z.string().nullable(),
  guest_kind: z.enum(['lxc', 'qemu']).nullable(),
  /** Whether the guest ran when the job began: what ran is owed a start. */
  ran: z.boolean().nullable(),
  claimed: z.boolean(),
  /** Set, durable, before the POST. */
  intent_at: when.nullable(),
  upid: z.string().nullable(),
  /** The pid of vzdump's worker, as the hook tells it. */
  worker_pid: z.number().int().nullable(),
  mode: backupMode.nullable(),
  proof: z.string().nullable(),
  excluded: z.array(exclusion),
  size_bytes: z.number().nullable(),
  volid: z.string().nullable(),
  degraded: z.string().nullable(),
  error: jobError.nullable(),
  report: jobReport.nullable(),
  /** Whether vzdump has ended for this guest: until then the lane stays held, whatever the phase. */
  task_ended: z.boolean(),
  notes: z.enum(['none', 'owed', 'written']),
  guest_owed: z.enum(['none', 'owed', 'settled', 'alerted']),
  ended_at: when.nullable(),
});
export type Job = z.infer<typeof jobSchema>;
export type JobPatch = Partial<Omit<Job, 'job_id' | 'vmid' | 'opened_at' | 'seq'>>;

export const jobRecord = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('opened'), job: jobSchema }),
  z.object({ kind: z.literal('changed'), job_id: z.string(), at: when, set: jobSchema.partial() }),
]);
export type JobRecord = z.infer<typeof jobRecord>;

/** The phases and their legal steps: the absence of an edge is the safety argument. */
export const jobMachine = defineMachine({
  initial: 'queued',
  terminal: ['done', 'failed', 'cancelled'],
  edges: {
    queued: ['ready', 'capturing', 'failed', 'cancelled'],
    ready: ['capturing', 'failed', 'cancelled'],
    capturing: ['snapshotted', 'done', 'failed', 'cancelled'],
    snapshotted: ['done', 'failed', 'cancelled'],
    done: [],
    failed: [],
    cancelled: [],
  },
} as const);

export function isTerminal(job: Job): boolean {
  return job.phase === 'done' || job.phase === 'failed' || job.phase === 'cancelled';
}

/** Whether vzdump may still be at work for it: an open job is a held lane. */
export function isOpen(job: Job): boolean {
  return !isTerminal(job) || ((job.intent_at !== null || job.upid !== null) && !job.task_ended);
}

/** Whether anything is left to do: an open job, notes to write, a guest to start. */
export function isUnsettled(job: Job): boolean {
  return isOpen(job) || job.notes === 'owed' || job.guest_owed === 'owed';
}

/** The jobs that `records` tell of, oldest first. A change to a job that was never opened is dropped. */
export function replay(records: readonly JobRecord[]): Map<string, Job> {
  const jobs = new Map<string, Job>();
  for (const record of records) {
    if (record.kind === 'opened') jobs.set(record.job.job_id, record.job);
    else {
      const job = jobs.get(record.job_id);
      if (job !== undefined) jobs.set(record.job_id, { ...job, ...definedOf(record.set) });
    }
  }
  return jobs;
}

type Loose<T> = { [Key in keyof T]?: T[Key] | undefined };

function definedOf(set: Loose<Job>): Partial<Job> {
  return Object.fromEntries(Object.entries(set).filter(([, value]) => value !== undefined));
}

/** What compaction keeps: every unsettled job, and the newest `perGuest` others of each guest, one record each. */
export function compactRecords(records: readonly JobRecord[], perGuest: number): JobRecord[] {
  const jobs = [...replay(records).values()];
  const kept = new Map<number, number>();
  const keep = new Set<string>();
  for (const job of jobs.toReversed()) {
    const count = kept.get(job.vmid) ?? 0;
    if (!isUnsettled(job) && count >= perGuest) continue;
    kept.set(job.vmid, count + 1);
    keep.add(job.job_id);
  }
  return jobs.filter((job) => keep.has(job.job_id)).map((job) => ({ kind: 'opened', job }));
}

/** A job's first state. */
export function newJob(
  given: Pick<Job, 'job_id' | 'vmid' | 'origin' | 'opened_at' | 'host_boot_id' | 'quiesce'> & JobPatch,
): Job {
  return {
    phase: 'queued',
    seq: 1,
    gate: null,
    storage: null,
    storage_type: null,
    run_id: null,
    idempotency_key: null,
    body_sha256: null,
    guest_kind: null,
    ran: null,
    claimed: false,
    intent_at: null,
    upid: null,
    worker_pid: null,
    mode: null,
    proof: null,
    excluded: [],
    size_bytes: null,
    volid: null,
    degraded: null,
    error: null,
    report: null,
    task_ended: false,
    notes: 'none',
    guest_owed: 'none',
    ended_at: null,
    ...given,
  };
}
