import type { ReportBody } from '@felhom/guest-api/schema.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { type Driver, durableIfPossible, fail as failJob, isoNow, mustGet } from './driver.ts';
import type { GateEnd } from './gate.ts';
import { isTerminal, type Job } from './job.ts';
import { GoneFailure, noSuchJob } from './job-failures.ts';
import { payNotes } from './settle.ts';
import { stopOwnTask } from './stop-task.ts';

/** The apps are down: capture now. Idempotent. @throws GoneFailure when the gate closed before. */
export async function takeQuiesced(driver: Driver, jobId: string): Promise<Job> {
  const { jobs, gates } = driver;
  const job = jobs.get(jobId);
  if (job === undefined) throw noSuchJob(jobId);
  if (['capturing', 'snapshotted', 'done'].includes(job.phase) && job.degraded === null && job.quiesce) return job;
  if (job.phase === 'queued') {
    throw new Failure('usage', {
      message: `job ${jobId} is not ready: nobody asked for the apps to be down yet`,
      hint: 'Start the apps, and wait for the phase `ready`.',
    });
  }
  if (job.phase !== 'ready' || !gates.poll(jobId)) throw new GoneFailure(job);
  return job.gate === 'log' ? await captureByPost(driver, jobId) : captureByHook(driver, jobId);
}

/** The POST is made by whoever drives the job, once it is told of the intent, and it is told when that is on disk. */
async function captureByPost(driver: Driver, jobId: string): Promise<Job> {
  try {
    const set = { phase: 'capturing' as const, claimed: true, intent_at: isoNow(driver) };
    const job = await driver.jobs.change(jobId, set, 'durable-first');
    driver.gates.decide(jobId, { kind: 'go' });
    return job;
  } catch (error) {
    await failJob(driver, jobId, {
      code: 'state_unwritable',
      message: 'no backup was started: the intent could not be written; the apps may start again',
      hint: 'Make room on the host file system that holds the state folder, then try again.',
    });
    throw error;
  }
}

/**
 * vzdump waits at our hook with the apps down, and the intent has been on disk since before the POST: it is
 * let on, and the guest answered, while this step is on its way there. A crash in between leaves a gate
 * that was passed, which the log tells: the backup is then taken for less than it is, never for more. A
 * disk that takes no record keeps nobody waiting.
 */
function captureByHook(driver: Driver, jobId: string): Job {
  void durableIfPossible(driver, jobId, { phase: 'capturing', claimed: true });
  driver.gates.decide(jobId, { kind: 'go' });
  return mustGet(driver, jobId);
}

/** Ends a job. While apps may be down for it, and in stop mode, only by force; past its gate a job of PVE's own is not ours to end. */
export async function cancelJob(
  driver: Driver,
  jobId: string,
  { force, by }: { force: boolean; by: string },
): Promise<Job> {
  const { jobs, gates } = driver;
  const job = jobs.get(jobId);
  if (job === undefined) throw noSuchJob(jobId);
  if (isTerminal(job)) return job;
  if (job.origin === 'pve' && job.phase !== 'ready') {
    throw new Failure('refused', {
      message: `job ${jobId} was started by Proxmox VE and is past its gate: it is not ours to end`,
      hint: 'End its task in the interface of Proxmox VE.',
    });
  }
  const appsDown = job.phase === 'capturing' || (job.mode === 'stop' && job.phase !== 'queued');
  if (appsDown && !force) {
    throw new Failure('refused', {
      message: `job ${jobId} is capturing: ending it now throws the backup away`,
      hint: 'Wait a moment, or add --force.',
    });
  }
  const error = {
    code: 'interrupted',
    message: `cancelled by ${by}; nothing was captured`,
    hint: 'Ask for a new backup when you want one.',
  };
  const started = job.intent_at !== null || job.upid !== null || job.origin === 'pve';
  gates.decide(jobId, { kind: 'fail', reason: `cancelled by ${by}` });
  await durableIfPossible(driver, jobId, { phase: 'cancelled', error, task_ended: !started });
  if (started && job.phase !== 'ready') await stopOwnTask(driver, job);
  return mustGet(driver, jobId);
}

/** What the apps did. The first report wins. */
export async function recordReport(driver: Driver, jobId: string, body: ReportBody): Promise<Job> {
  const job = driver.jobs.get(jobId);
  if (job === undefined) throw noSuchJob(jobId);
  if (job.report !== null) return job;
  const notes = job.notes === 'written' ? { notes: 'owed' as const } : {};
  const after = await driver.jobs.change(jobId, { report: { ...body, at: isoNow(driver) }, ...notes }, 'durable-first');
  if (after.task_ended) void payNotes(driver, jobId);
  return after;
}

/** A gate that nobody holds any more. The controller learns it from the job and, at `quiesced`, by 410. */
export async function closeGate(driver: Driver, jobId: string, reason: GateEnd): Promise<void> {
  const job = driver.jobs.get(jobId);
  if (job?.phase !== 'ready') return;
  const goesOn = job.origin === 'operator' || (job.origin === 'pve' && driver.config.pve_jobs !== 'require_quiesce');
  if (goesOn) {
    const change = durableIfPossible(driver, jobId, {
      phase: 'capturing',
      degraded: `gate_closed: ${reason}`,
      ...(job.gate === 'log' ? { intent_at: isoNow(driver) } : {}),
    });
    await change;
    return driver.gates.decide(jobId, { kind: 'go' });
  }
  const started = job.intent_at !== null || job.upid !== null || job.origin === 'pve';
  const message = `the guest did not report its apps down in time (${reason}); no backup was made`;
  await durableIfPossible(driver, jobId, {
    phase: 'failed',
    degraded: `gate_closed: ${reason}`,
    task_ended: !started,
    error: { code: 'backup_failed', message, hint: 'Look at the controller in the guest: felhom-controller status' },
  });
  driver.gates.decide(jobId, { kind: 'fail', reason: message });
}
