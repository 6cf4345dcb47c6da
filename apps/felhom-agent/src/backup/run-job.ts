import { asFailure } from '@felhom/kernel/failure.ts';
import type { BackupPolicy } from '../config.ts';
import { type Driver, durableIfPossible, fail, isoNow, mustGet, pidOf, text } from './driver.ts';
import { followTask } from './follow-task.ts';
import { isTerminal, type Job } from './job.ts';
import { jobMark } from './notes.ts';
import { PveProblem } from './ports.ts';
import { judgePreflight, observePreflight } from './preflight.ts';
import { type HeldLanes, settleJob } from './settle.ts';

/**
 * Drives one job from wherever its journal says it stands to its end, and pays what it owes.
 *
 * Invariants: the intent is durable before the POST; a POST is never repeated; from `ready` on the
 * guest's lane is held; nothing but `stop` (the agent is ending) makes this return early, and then
 * the job goes on from its journal.
 */
export async function runJob(driver: Driver, jobId: string): Promise<void> {
  const lanes: HeldLanes = { slot: null, guest: null };
  try {
    let job = mustGet(driver, jobId);
    if (job.origin === 'pve' || job.intent_at !== null) await takeFreeLanes(driver, job, lanes);
    if (!isTerminal(job) && job.origin !== 'pve' && job.intent_at === null) await prepareOrFail(driver, jobId, lanes);
    job = mustGet(driver, jobId);
    if (job.intent_at !== null && job.upid === null && !job.task_ended) await resolveStart(driver, jobId);
    job = mustGet(driver, jobId);
    if (!job.task_ended && (job.upid !== null || job.origin === 'pve')) await followTask(driver, jobId);
    if (!driver.stop.aborted) await settleJob(driver, jobId, lanes);
  } finally {
    await lanes.guest?.release();
    await lanes.slot?.release();
  }
}

/** Whatever goes wrong before the intent ends the job: nothing was started, and nobody waits for it in vain. */
async function prepareOrFail(driver: Driver, jobId: string, lanes: HeldLanes): Promise<void> {
  try {
    await prepare(driver, jobId, lanes);
  } catch (error) {
    const { code, message, hint } = asFailure(error);
    if (mustGet(driver, jobId).intent_at !== null) throw error;
    await fail(driver, jobId, { code, message: `no backup was started: ${message}; the apps may run`, hint });
  }
}

/** From `queued` to a running task: claim, lanes, preflight, gate, POST. */
async function prepare(driver: Driver, jobId: string, lanes: HeldLanes): Promise<void> {
  await awaitClaim(driver, jobId);
  if (!(await takeLanes(driver, jobId, lanes))) return;
  const job = mustGet(driver, jobId);
  const policy = driver.policyOf(job);
  const checked = await preflight(driver, jobId, policy);
  if (checked === null || isTerminal(mustGet(driver, jobId))) return;
  const asksInLog = job.gate === 'log' && mustGet(driver, jobId).quiesce;
  if (asksInLog) await awaitLogGate(driver, jobId);
  const now = mustGet(driver, jobId);
  if (isTerminal(now) || driver.stop.aborted) return;
  if (now.intent_at === null) {
    const phase = job.gate === 'hook' && now.quiesce ? {} : { phase: 'capturing' as const };
    try {
      await driver.jobs.change(
        jobId,
        { ...(now.phase === 'capturing' ? {} : phase), intent_at: isoNow(driver) },
        'durable-first',
      );
    } catch (error) {
      return await fail(driver, jobId, {
        code: 'state_unwritable',
        message: `no backup was started: ${text(error)}; the apps keep running`,
        hint: 'Make room for the state folder, then try again.',
      });
    }
  }
  await post(driver, jobId, policy);
}

/** An operator's request waits for the guest's controller to follow it. */
async function awaitClaim(driver: Driver, jobId: string): Promise<void> {
  const { jobs, config, clock } = driver;
  const { operator_claim: bound } = config.bounds;
  // How old it is tells the wall clock, after a restart of ours; how long is waited does not depend on it.
  const ageMs = clock.nowMs() - Date.parse(mustGet(driver, jobId).opened_at);
  const untilMs = clock.monotonicMs() + Math.min(bound, Math.max(0, bound - ageMs));
  for (;;) {
    const job = mustGet(driver, jobId);
    if (job.origin !== 'operator' || !job.quiesce || job.claimed || isTerminal(job) || driver.stop.aborted) return;
    const left = untilMs - clock.monotonicMs();
    if (left <= 0) {
      await jobs.change(jobId, { quiesce: false, degraded: 'no_controller' }, 'at-once');
      return;
    }
    await jobs.waitFor(jobId, job.seq, left, driver.stop);
  }
}

/** The node's slot, then the guest's lane. False when the job ended while waiting. */
async function takeLanes(driver: Driver, jobId: string, lanes: HeldLanes): Promise<boolean> {
  const { vmid } = mustGet(driver, jobId);
  for (const which of ['slot', 'guest'] as const) {
    while (lanes[which] === null) {
      const job = mustGet(driver, jobId);
      if (isTerminal(job) || driver.stop.aborted) return false;
      lanes[which] = await (which === 'slot' ? driver.ports.lanes.trySlot() : driver.ports.lanes.tryGuest(vmid));
      if (lanes[which] !== null) break;
      await driver.jobs.waitFor(jobId, job.seq, Math.min(200, driver.config.bounds.task_poll), driver.stop);
    }
  }
  return true;
}

/** A task that is under way waits for no lane: what is free is taken, so that others keep away. */
async function takeFreeLanes(driver: Driver, job: Job, lanes: HeldLanes): Promise<void> {
  const { lanes: all } = driver.ports;
  [lanes.slot, lanes.guest] = await Promise.all([job.origin === 'pve' ? null : all.trySlot(), all.tryGuest(job.vmid)]);
}

async function preflight(driver: Driver, jobId: string, policy: BackupPolicy): Promise<true | null> {
  const job = mustGet(driver, jobId);
  try {
    const facts = await observePreflight(driver.ports.pve, job.vmid, policy.storage);
    const verdict = judgePreflight(facts, policy, driver.config.preflight);
    if (isTerminal(mustGet(driver, jobId))) return null;
    if (verdict.kind === 'stop') {
      await fail(driver, jobId, verdict.error);
      return null;
    }
    const ran = facts.guest?.running ?? null;
    const quiesce = mustGet(driver, jobId).quiesce && ran !== false;
    await driver.jobs.change(
      jobId,
      {
        excluded: verdict.excluded,
        ran,
        quiesce,
        guest_kind: facts.guest?.kind ?? null,
        storage_type: facts.storage?.type ?? null,
      },
      'at-once',
    );
    return true;
  } catch (error) {
    if (isTerminal(mustGet(driver, jobId))) return null;
    await fail(driver, jobId, {
      code: 'pve_unreachable',
      message: `no backup was started: Proxmox VE did not say whether it can be made: ${text(error)}; the apps keep running`,
      hint: 'Look at `systemctl status pvedaemon pveproxy` on the host, then try again.',
    });
    return null;
  }
}

/** The log gate: the host holds all it needs; the guest says when its apps are down. */
async function awaitLogGate(driver: Driver, jobId: string): Promise<void> {
  driver.gates.open(jobId);
  if (mustGet(driver, jobId).phase === 'queued') {
    await driver.jobs.change(jobId, { phase: 'ready' }, 'durable-first');
  }
  for (;;) {
    const job = mustGet(driver, jobId);
    if (job.phase !== 'ready' || driver.stop.aborted) return;
    await driver.jobs.waitFor(jobId, driver.jobs.told(jobId)?.seq ?? 0, keepWarmMs, driver.stop);
    // PVE closes idle connections, and a new one would be opened with the apps down.
    if (mustGet(driver, jobId).phase === 'ready') void driver.ports.pve.guest(job.vmid).catch(() => null);
  }
}

const keepWarmMs = 2_000;

/** The one POST of a job. */
async function post(driver: Driver, jobId: string, policy: BackupPolicy): Promise<void> {
  const job = mustGet(driver, jobId);
  const lockwaitMs = job.gate === 'log' && job.quiesce ? 0 : driver.config.bounds.lockwait;
  try {
    const answer = await driver.ports.pve.startBackup({
      vmid: job.vmid,
      storage: policy.storage,
      mode: policy.mode,
      compress: policy.compress,
      mark: jobMark(jobId),
      lockwaitMinutes: Math.ceil(lockwaitMs / 60_000),
    });
    if (answer.kind === 'started')
      await durableIfPossible(driver, jobId, { upid: answer.upid, worker_pid: pidOf(answer.upid) });
    else
      await fail(
        driver,
        jobId,
        {
          code: 'refused',
          message: 'the guest lives on another node; nothing was backed up',
          hint: 'Point its controller at the agent of that node.',
        },
        true,
      );
  } catch (error) {
    if (!(error instanceof PveProblem) || error.kind === 'unknown')
      return driver.log('the answer to the vzdump request was lost', { job: jobId, error: text(error) });
    await fail(
      driver,
      jobId,
      {
        code: 'backup_failed',
        message: `Proxmox VE refused the backup: ${error.message}`,
        hint: 'Correct what it names, then try again.',
      },
      true,
    );
  }
}

/** The mark decides: time only keeps older logs from being read, and our clock may have been set since. */
const lookBackSeconds = 86_400;

/** An intent without a UPID: the mark in line 1 of the task's log tells; time only narrows. Never posted again. */
async function resolveStart(driver: Driver, jobId: string): Promise<void> {
  const { pve } = driver.ports;
  const { bounds } = driver.config;
  const beganMs = driver.clock.monotonicMs();
  while (!driver.stop.aborted) {
    const job = mustGet(driver, jobId);
    if (job.upid !== null || job.task_ended) return;
    const intentMs = Date.parse(job.intent_at ?? job.opened_at);
    const found = await pve.findStarted({
      vmid: job.vmid,
      mark: jobMark(jobId),
      sinceSeconds: Math.floor(intentMs / 1000) - lookBackSeconds,
      // Counted from when we began to look, after the call: a clock that was set ahead would conclude "not started" too soon.
      intentAgeMs: driver.clock.monotonicMs() - beganMs,
      certainAfterMs: bounds.lost_start,
    });
    if (found.kind === 'found')
      return await durableIfPossible(driver, jobId, { upid: found.upid, worker_pid: pidOf(found.upid) });
    if (found.kind === 'not-started') {
      const message = 'Proxmox VE never started the backup: its answer was lost and no task carries our mark';
      return await fail(
        driver,
        jobId,
        { code: 'backup_failed', message, hint: 'Look at the task list of the node, then try again.' },
        true,
      );
    }
    await driver.clock.sleep(Math.min(250, bounds.task_poll), driver.stop);
  }
}
