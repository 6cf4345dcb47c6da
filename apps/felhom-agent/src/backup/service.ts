import { createHash } from 'node:crypto';
import type { JobStatus, ReportBody, StartBody } from '@felhom/guest-api/schema.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import type { BackupPolicy } from '../config.ts';
import { type Driver, durableIfPossible, isoNow } from './driver.ts';
import type { Due } from './due.ts';
import { cancelJob, closeGate, recordReport, takeQuiesced } from './end-gate.ts';
import type { GateEnd } from './gate.ts';
import { type Job, newJob } from './job.ts';
import { BusyFailure, NotDueFailure } from './job-failures.ts';

/**
 * What guests and operators may ask of jobs. Each call looks and acts in one synchronous piece before
 * its first await, so that two callers cannot both win.
 */
export interface BackupService {
  /** @throws NotDueFailure with `onlyIfDue`, where a backup was made since one was said to be due. */
  startForGuest(vmid: number, body: StartBody, key: string, options?: { onlyIfDue: boolean }): Promise<Job>;
  startForOperator(vmid: number, options: { storage?: string | undefined; quiesce: boolean }): Promise<Job>;
  /** A status poll: claims an open gate or renews its lease. */
  poll(job: Job): void;
  quiesced(jobId: string): Promise<Job>;
  /** The apps run again: whoever held vzdump back for them lets it go on. */
  resumed(jobId: string): void;
  cancel(jobId: string, options: { force: boolean; by: string }): Promise<Job>;
  report(jobId: string, body: ReportBody): Promise<Job>;
  closeGate(jobId: string, reason: GateEnd): void;
  status(job: Job): JobStatus;
}

export interface ServiceOptions {
  driver: Driver;
  newId: () => string;
  hostBootId: string;
  /** Starts to drive a job; returns at once. */
  launch: (jobId: string) => void;
  chooseGate: (vmid: number) => 'hook' | 'log';
  /** The guest's targets, the most overdue first. */
  policies: (vmid: number) => readonly BackupPolicy[];
  /** The storage whose backup waits longest, where that can be told. */
  mostOverdue: (vmid: number) => Promise<string | undefined>;
  /** Whether a backup is due at this moment, and where. */
  dueNow: (vmid: number) => Promise<Pick<Due, 'due' | 'reason' | 'storage'>>;
  /** Whether the guest has a token, so that a controller may be asked. */
  hasController: (vmid: number) => boolean;
}

export function createBackupService(options: ServiceOptions): BackupService {
  const { driver } = options;
  const { jobs, gates } = driver;
  return {
    startForGuest: async (vmid, body, key, { onlyIfDue } = { onlyIfDue: false }) => {
      const earlier = jobs.ofGuest(vmid).findLast((job) => job.idempotency_key === key);
      const hash = bodyHash(body);
      if (earlier !== undefined) return repeated(earlier, hash);
      const verdict = onlyIfDue ? await options.dueNow(vmid) : null;
      const usual = verdict === null ? options.mostOverdue(vmid) : (verdict.storage ?? undefined);
      const storage = body.storage ?? (await usual);
      const twin = jobs.ofGuest(vmid).findLast((job) => job.idempotency_key === key);
      if (twin !== undefined) return repeated(twin, hash);
      const policy = choosePolicy(options.policies(vmid), storage);
      const open = jobs.openOf(vmid);
      if (open !== undefined) {
        if (open.origin === 'operator' && open.quiesce && !open.claimed && open.phase === 'queued')
          return await join(driver, open, body, key, hash);
        throw new BusyFailure(open);
      }
      if (verdict?.due === false) throw new NotDueFailure(verdict.reason);
      checkInterval(driver, vmid);
      const job = newJob({
        ...base(options, vmid),
        origin: 'controller',
        quiesce: true,
        claimed: true,
        storage: policy.storage,
        run_id: body.run_id,
        idempotency_key: key,
        body_sha256: hash,
      });
      await jobs.open(job);
      options.launch(job.job_id);
      return job;
    },
    startForOperator: async (vmid, { storage, quiesce }) => {
      const policy = choosePolicy(options.policies(vmid), storage ?? (await options.mostOverdue(vmid)));
      const open = jobs.openOf(vmid);
      if (open !== undefined) throw new BusyFailure(open);
      const asked = quiesce && options.hasController(vmid);
      const degraded = asked ? null : quiesce ? 'no_controller' : 'not_quiesced';
      const job = newJob({
        ...base(options, vmid),
        origin: 'operator',
        quiesce: asked,
        storage: policy.storage,
        degraded,
      });
      await jobs.open(job);
      options.launch(job.job_id);
      return job;
    },
    poll: (job) => {
      if (job.phase === 'ready') gates.poll(job.job_id);
      const unclaimed = !job.claimed && job.quiesce && (job.phase === 'queued' || job.phase === 'ready');
      if (unclaimed) void durableIfPossible(driver, job.job_id, { claimed: true });
    },
    quiesced: async (jobId) => await takeQuiesced(driver, jobId),
    resumed: (jobId) => gates.appsUp(jobId),
    cancel: async (jobId, how) => await cancelJob(driver, jobId, how),
    report: async (jobId, body) => await recordReport(driver, jobId, body),
    closeGate: (jobId, reason) => {
      void closeGate(driver, jobId, reason);
    },
    status: (job) => toStatus(driver, job),
  };

  function repeated(earlier: Job, hash: string): Job {
    if (earlier.body_sha256 === hash) return earlier;
    throw new Failure('usage', {
      message: 'this Idempotency-Key was used with another body; nothing was started',
      hint: 'Use a new key for a new request.',
    });
  }
}

function base(
  options: ServiceOptions,
  vmid: number,
): Pick<Job, 'job_id' | 'vmid' | 'opened_at' | 'host_boot_id' | 'gate'> {
  return {
    job_id: options.newId(),
    vmid,
    opened_at: isoNow(options.driver),
    host_boot_id: options.hostBootId,
    gate: options.chooseGate(vmid),
  };
}

async function join(driver: Driver, open: Job, body: StartBody, key: string, hash: string): Promise<Job> {
  return await driver.jobs.change(
    open.job_id,
    { claimed: true, run_id: body.run_id, idempotency_key: key, body_sha256: hash },
    'durable-first',
  );
}

function bodyHash(body: StartBody): string {
  return createHash('sha256')
    .update(JSON.stringify([body.run_id, body.storage ?? null]))
    .digest('hex');
}

function choosePolicy(policies: readonly BackupPolicy[], storage: string | undefined): BackupPolicy {
  const [first] = policies;
  if (first === undefined) {
    throw new Failure('refused', {
      message: 'this guest has no backup target; nothing was started',
      hint: 'On the host, name one in guests.d or in defaults.backup of agent.yaml.',
    });
  }
  const chosen = storage === undefined ? first : policies.find((policy) => policy.storage === storage);
  if (chosen !== undefined) return chosen;
  const names = policies.map((policy) => policy.storage).join(', ');
  throw new Failure('refused', {
    message: `storage ${storage ?? ''} is not a target of this guest; nothing was started`,
    hint: `Name one of: ${names}`,
  });
}

/**
 * A guest cannot wash its own backups out: its jobs that made one are a while apart. Nor can it keep the node's vzdump lock to
 * itself by asking, again and again, for backups that it then lets fail.
 */
function checkInterval({ jobs, config, clock }: Driver, vmid: number): void {
  const { min_interval: interval } = config.bounds;
  const own = jobs.ofGuest(vmid).filter((job) => job.origin === 'controller');
  const made = own.findLast((job) => job.phase === 'done');
  if (made !== undefined) {
    const leftMs = Date.parse(made.ended_at ?? made.opened_at) + interval - clock.nowMs();
    if (leftMs > 0) throw tooSoon(vmid, leftMs, `its last backup was made less than ${minutes(interval)} min ago`);
  }
  const oldest = own.at(-config.limits.attempts);
  if (oldest === undefined) return;
  const leftMs = Date.parse(oldest.opened_at) + interval - clock.nowMs();
  if (leftMs > 0)
    throw tooSoon(vmid, leftMs, `it has asked for ${config.limits.attempts} backups within ${minutes(interval)} min`);
}

function tooSoon(vmid: number, leftMs: number, why: string): Failure {
  return new Failure('policy_refused', {
    message: `guest ${vmid} may not ask for a backup now: ${why}; nothing was started, the apps keep running`,
    hint: `Wait ${minutes(leftMs)} min, or ask on the host: felhom-agent backup now ${vmid}`,
  });
}

function minutes(ms: number): number {
  return Math.ceil(ms / 60_000);
}

function toStatus(driver: Driver, job: Job): JobStatus {
  return {
    job_id: job.job_id,
    phase: job.phase,
    seq: job.seq,
    origin: job.origin,
    mode: job.mode,
    gate: job.gate,
    storage: job.storage,
    storage_type: job.storage_type,
    progress: driver.jobs.progress(job.job_id),
    size_bytes: job.size_bytes,
    excluded: job.excluded.slice(0, 256),
    upid: job.upid,
    volid: job.volid,
    proof: job.proof,
    degraded: job.degraded,
    error: job.error,
  };
}
