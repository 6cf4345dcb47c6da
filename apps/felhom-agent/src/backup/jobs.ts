import type { Clock } from '@felhom/kernel/clock.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { isOpen, type Job, type JobPatch, type JobRecord, jobMachine, replay } from './job.ts';
import { createNotifier, type Notifier } from './notifier.ts';
import type { JobListener, JournalPort } from './ports.ts';

/**
 * All jobs, as the journal and this process know them.
 *
 * Invariants:
 * - A step is checked and taken in one synchronous piece: two callers can never take two steps from
 *   one phase.
 * - `current` may be ahead of what was told. With `durable-first` a change is told to waiters only
 *   once it is on disk; with `at-once` it is told before, which is allowed only where a crash in
 *   between leaves nothing wrong (the fact can be read again from PVE).
 * - A record that cannot be written takes a `durable-first` change back, and leaves an `at-once` one in
 *   force: a running vzdump does not wait for our disk. Either way the caller is told.
 */
export interface Jobs {
  all(): readonly Job[];
  get(jobId: string): Job | undefined;
  /** As told to others so far. */
  told(jobId: string): Job | undefined;
  openOf(vmid: number): Job | undefined;
  ofGuest(vmid: number): Job[];
  /** @throws Failure `state_unwritable`: then there is no such job. */
  open(job: Job): Promise<Job>;
  /** @throws Failure `bug` for an illegal step, `state_unwritable` when the record is not on disk. */
  change(jobId: string, set: JobPatch, telling: 'durable-first' | 'at-once'): Promise<Job>;
  /** Progress and the like: told, never written. */
  note(jobId: string, progress: number | null): void;
  progress(jobId: string): number | null;
  /** Resolves when the job's told `seq` is above `after`, when the job is touched, or after `ms`: look again then. */
  waitFor(jobId: string, after: number, ms: number, signal?: AbortSignal): Promise<void>;
  /** Wakes whoever waits for this job, without a change. */
  touch(jobId: string): void;
  /** Answers what ends the listening. */
  onChange(listener: JobListener): () => void;
}

export function createJobs({
  records,
  journal,
  clock,
}: {
  records: readonly JobRecord[];
  journal: JournalPort;
  clock: Clock;
}): Jobs {
  const current = replay(records);
  const told = new Map(current);
  const progress = new Map<string, number>();
  const notifiers = new Map<string, Notifier>();
  const listeners = new Set<JobListener>();
  const unwritten = new Set<string>();

  const tell = (job: Job): void => {
    const before = told.get(job.job_id) ?? null;
    if (before !== null && before.seq >= job.seq) return;
    told.set(job.job_id, job);
    notifiers.get(job.job_id)?.notify();
    for (const listener of listeners) listener(job, before);
  };
  const write = async (record: JobRecord): Promise<void> => {
    try {
      await journal.append(record);
    } catch (cause) {
      throw new Failure('state_unwritable', {
        message: `the agent's journal cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`,
        hint: 'Make room on the host file system that holds the state folder, then try again. Nothing was started for this request.',
        cause,
      });
    }
  };
  const mustGet = (jobId: string): Job => {
    const job = current.get(jobId);
    if (job === undefined)
      throw new Failure('bug', { message: `no job ${jobId}`, hint: 'This is a defect, please report it.' });
    return job;
  };

  return {
    all: () => [...current.values()],
    get: (jobId) => current.get(jobId),
    told: (jobId) => told.get(jobId),
    openOf: (vmid) => [...current.values()].findLast((job) => job.vmid === vmid && isOpen(job)),
    ofGuest: (vmid) => [...current.values()].filter((job) => job.vmid === vmid),
    open: async (job) => {
      current.set(job.job_id, job);
      try {
        await write({ kind: 'opened', job });
      } catch (error) {
        current.delete(job.job_id);
        throw error;
      }
      tell(job);
      return job;
    },
    change: async (jobId, set, telling) => {
      const before = mustGet(jobId);
      if (set.phase !== undefined && set.phase !== before.phase) jobMachine.assertStep(before.phase, set.phase);
      const at = new Date(clock.nowMs()).toISOString();
      const ended =
        set.phase !== undefined && set.phase !== before.phase && ['done', 'failed', 'cancelled'].includes(set.phase);
      const full = { ...set, seq: before.seq + 1, ...(ended ? { ended_at: at } : {}) };
      const job: Job = { ...before, ...full };
      current.set(jobId, job);
      if (telling === 'at-once') tell(job);
      try {
        await write({ kind: 'changed', job_id: jobId, at, set: unwritten.delete(jobId) ? job : full });
      } catch (error) {
        if (telling === 'durable-first' && current.get(jobId) === job) current.set(jobId, before);
        // What the disk did not take goes with the next record that it takes.
        else unwritten.add(jobId);
        throw error;
      }
      tell(job);
      return job;
    },
    note: (jobId, percent) => {
      const job = current.get(jobId);
      if (job === undefined || percent === null || progress.get(jobId) === percent) return;
      progress.set(jobId, percent);
      const next = { ...job, seq: job.seq + 1 };
      current.set(jobId, next);
      tell(next);
    },
    progress: (jobId) => progress.get(jobId) ?? null,
    waitFor: async (jobId, after, ms, signal) => {
      const notifier = notifiers.get(jobId) ?? createNotifier(clock);
      notifiers.set(jobId, notifier);
      if ((told.get(jobId)?.seq ?? 0) <= after && ms > 0) await notifier.wait(ms, signal);
    },
    touch: (jobId) => notifiers.get(jobId)?.notify(),
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
