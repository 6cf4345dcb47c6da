import type { Clock } from '@felhom/kernel/clock.ts';
import type { AgentConfig, BackupPolicy } from '../config.ts';
import type { Gates } from './gates.ts';
import { isTerminal, type Job, type JobError, type JobPatch } from './job.ts';
import type { Jobs } from './jobs.ts';
import type { JobPorts } from './ports.ts';

/** Everything that drives a job. All effects are in `ports` and `clock`. */
export interface Driver {
  ports: JobPorts;
  jobs: Jobs;
  gates: Gates;
  clock: Clock;
  config: Pick<AgentConfig, 'bounds' | 'limits' | 'preflight' | 'pve_jobs'>;
  policyOf(job: Job): BackupPolicy;
  guestName(vmid: number): string;
  /** Whether a person wants this guest to be off or left alone. */
  leaveDown(vmid: number): string | null;
  /** Monotonic milliseconds of the guest's last authenticated request. */
  lastRequestMs(vmid: number): number | null;
  /** What the hook has said of a job, for the driver to act on at once. */
  hookWord(jobId: string): HookWord | undefined;
  /** The writer of each job's notes that is under way. */
  writing: Map<string, Promise<void>>;
  stop: AbortSignal;
  log(message: string, fields?: Record<string, unknown>): void;
}

/** What the hook reported of the end of a guest's part. */
export interface HookWord {
  end: 'finished' | 'failed' | null;
  target: string | null;
}

/** Ends a job as failed; one that ended already only learns that its task is over. */
export async function fail(driver: Driver, jobId: string, error: JobError, taskEnded = false): Promise<void> {
  const job = mustGet(driver, jobId);
  if (isTerminal(job)) {
    if (taskEnded) await durableIfPossible(driver, jobId, { task_ended: true });
    return;
  }
  driver.gates.decide(jobId, { kind: 'fail', reason: error.message });
  const ended = taskEnded || (job.intent_at === null && job.upid === null);
  await durableIfPossible(driver, jobId, { phase: 'failed', error, task_ended: ended });
}

/**
 * A change that holds in this process even when the disk does not take it. The end of a job is told once
 * it is on disk: a guest that heard of a failure must never find that job done after a crash of ours.
 */
export async function durableIfPossible(driver: Driver, jobId: string, set: JobPatch): Promise<void> {
  const ends = set.phase === 'done' || set.phase === 'failed' || set.phase === 'cancelled';
  try {
    await driver.jobs.change(jobId, set, ends ? 'durable-first' : 'at-once');
  } catch (error) {
    driver.log('a change of a job is not on disk', { job: jobId, error: text(error) });
    if (ends && mustGet(driver, jobId).phase !== set.phase) await tellAnyway(driver, jobId, set);
  }
}

async function tellAnyway(driver: Driver, jobId: string, set: JobPatch): Promise<void> {
  await driver.jobs.change(jobId, set, 'at-once').catch(() => undefined);
}

export function mustGet(driver: Pick<Driver, 'jobs'>, jobId: string): Job {
  const job = driver.jobs.get(jobId);
  if (job === undefined) throw new Error(`no job ${jobId}`);
  return job;
}

/** Field 2 of a UPID is the worker's pid in hex (pve-common, UPID.pm). */
export function pidOf(upid: string): number | null {
  const field = upid.split(':')[2];
  return field === undefined || !/^[0-9A-Fa-f]+$/.test(field) ? null : Number.parseInt(field, 16);
}

export function isoNow(driver: { clock: Clock }): string {
  return new Date(driver.clock.nowMs()).toISOString();
}

export function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
