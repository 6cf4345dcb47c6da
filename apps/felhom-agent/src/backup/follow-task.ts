import { type Driver, durableIfPossible, isoNow, mustGet, pidOf, text } from './driver.ts';
import { stepFromLog } from './follow-log.ts';
import { freezeWatch } from './freeze-watch.ts';
import { isTerminal, type Job, type JobPatch } from './job.ts';
import type { GuestLog, LogReader, TaskNow } from './ports.ts';
import { stopOwnTask } from './stop-task.ts';

/** How long a look at the log goes on fast after the apps went down: the usual snapshot takes 0.3 s. */
const fastForMs = 5_000;
const slowAwaitMs = 100;

/**
 * Follows a job's task to the end of the guest's part of it. A look that fails is unknown, not a
 * failure: only a terminal status or the guest's own last line ends it.
 */
export async function followTask(driver: Driver, jobId: string): Promise<void> {
  const upid = await awaitUpid(driver, jobId);
  if (upid === null) return await endByHook(driver, jobId);
  const reader = driver.ports.pve.logReader(mustGet(driver, jobId).storage);
  const freeze = freezeWatch(driver, jobId);
  let lines = 0;
  let downSinceMs: number | null = null;
  while (!driver.stop.aborted) {
    const seen = await look(driver, upid, reader, lines);
    if (seen !== null) {
      lines += seen.lines;
      const log = reader.guest(mustGet(driver, jobId).vmid);
      await takeSteps(driver, jobId, log);
      await freeze.look(log);
      if (await endIfOver(driver, jobId, { log, reader, task: seen.task })) return;
    }
    const job = mustGet(driver, jobId);
    downSinceMs = job.phase === 'capturing' ? (downSinceMs ?? driver.clock.monotonicMs()) : null;
    await driver.jobs.waitFor(jobId, driver.jobs.told(jobId)?.seq ?? 0, pauseMs(driver, job, downSinceMs), driver.stop);
  }
}

/** The status is asked first: lines that a task wrote before it stopped are then in the log that follows. */
async function look(
  driver: Driver,
  upid: string,
  reader: LogReader,
  start: number,
): Promise<{ lines: number; task: TaskNow } | null> {
  try {
    const [task, early] = await Promise.all([driver.ports.pve.task(upid), driver.ports.pve.taskLog(upid, start)]);
    const late = task.running ? [] : await driver.ports.pve.taskLog(upid, start + early.length);
    reader.feed([...early, ...late]);
    return { lines: early.length + late.length, task };
  } catch (error) {
    driver.log('a look at the task failed', { upid, error: text(error) });
    return null;
  }
}

/** A proof is waited for with fast looks, in a gate of the hook with slow ones: the hook tells it. */
function pauseMs(driver: Driver, job: Job, downSinceMs: number | null): number {
  const { bounds } = driver.config;
  if (job.phase !== 'capturing' || downSinceMs === null)
    return driver.hookWord(job.job_id)?.end != null ? bounds.proof_poll : bounds.task_poll;
  if (driver.clock.monotonicMs() - downSinceMs > fastForMs) return Math.min(slowAwaitMs, bounds.task_poll);
  const hookProves = job.gate === 'hook' && job.guest_kind !== 'qemu' && job.quiesce;
  return hookProves ? Math.min(slowAwaitMs, bounds.task_poll) : bounds.proof_poll;
}

async function takeSteps(driver: Driver, jobId: string, log: GuestLog): Promise<void> {
  const job = mustGet(driver, jobId);
  if (isTerminal(job)) return;
  await passGate(driver, job, log);
  const now = mustGet(driver, jobId);
  const policy = driver.policyOf(now);
  const binds = now.origin !== 'pve' && policy.onDowngrade === 'abort';
  const { set, downgraded } = stepFromLog(now, log, now.guest_kind, { mode: binds ? policy.mode : null });
  // A backup that is captured already is kept, whatever its mode.
  if (downgraded && log.proof === null && log.end === null) return await abortDowngrade(driver, now, log);
  if (Object.keys(set).length > 0) {
    await durableIfPossible(driver, jobId, set);
    if (set.phase === 'snapshotted') await driver.ports.generations.raise(job.vmid);
  }
  driver.jobs.note(jobId, log.progress);
}

/** vzdump went past the point at which its hook would have asked us: nobody can be waited for any more. */
async function passGate(driver: Driver, job: Job, log: GuestLog): Promise<void> {
  if ((job.phase !== 'queued' && job.phase !== 'ready') || !log.pastGate || job.gate === 'log') return;
  if (log.end === 'failed' && log.proof === null) return;
  const degraded =
    job.degraded ?? (job.phase === 'ready' ? 'gate_closed' : log.wasRunning === false ? null : 'hook_not_called');
  driver.gates.decide(job.job_id, { kind: 'go' });
  await durableIfPossible(driver, job.job_id, { phase: 'capturing', degraded });
}

/** Only jobs of ours come here. The apps, where they are down, resume at the terminal phase. */
async function abortDowngrade(driver: Driver, job: Job, log: GuestLog): Promise<void> {
  const error = {
    code: 'mode_downgrade',
    message: `vzdump fell back to ${log.mode ?? 'another'} mode; the backup was ended and the apps may resume`,
    hint: 'Move the volume that has no snapshots, exclude it (backup=0), or set on_downgrade: accept.',
  };
  driver.gates.decide(job.job_id, { kind: 'fail', reason: error.message });
  await durableIfPossible(driver, job.job_id, { phase: 'failed', error, mode: log.mode });
  await stopOwnTask(driver, job);
}

interface Seen {
  log: GuestLog;
  reader: LogReader;
  task: TaskNow;
}

/** True when the guest's part of the task is over, and the job with it. */
async function endIfOver(driver: Driver, jobId: string, { log, reader, task }: Seen): Promise<boolean> {
  if (task.running && log.end === null) return false;
  const job = mustGet(driver, jobId);
  // One guest: wait for the task itself, which may still prune, restart the guest or fail.
  if (task.running && job.origin !== 'pve') return false;
  if (task.running && log.end !== null && driver.hookWord(jobId)?.end == null && job.gate === 'hook') return false;
  const settled: JobPatch = { task_ended: true, ...(job.ran === true ? { guest_owed: 'owed' as const } : {}) };
  if (log.end === 'finished') {
    await driver.ports.generations.raise(job.vmid);
    await endWell(driver, jobId, {
      ...settled,
      ...(log.volid === null ? {} : { volid: log.volid }),
      size_bytes: log.sizeBytes,
    });
    return true;
  }
  const reason = log.reason ?? reader.taskError ?? task.exitStatus ?? 'the task ended without a word';
  await endBadly(driver, jobId, settled, reason);
  return true;
}

async function endWell(driver: Driver, jobId: string, set: JobPatch): Promise<void> {
  const job = mustGet(driver, jobId);
  const notes = { notes: 'owed' as const };
  if (isTerminal(job)) return await durableIfPossible(driver, jobId, { ...set, ...notes });
  if (job.phase === 'queued' || job.phase === 'ready') {
    await durableIfPossible(driver, jobId, { phase: 'capturing', degraded: job.degraded ?? 'gate_closed' });
  }
  driver.gates.decide(jobId, { kind: 'go' });
  await durableIfPossible(driver, jobId, { ...set, ...notes, phase: 'done' });
}

async function endBadly(driver: Driver, jobId: string, set: JobPatch, reason: string): Promise<void> {
  const job = mustGet(driver, jobId);
  driver.gates.decide(jobId, { kind: 'fail', reason: 'the backup has ended' });
  if (isTerminal(job)) return await durableIfPossible(driver, jobId, set);
  const lost = reason.includes("can't acquire lock");
  const error = {
    code: lost ? 'busy' : 'backup_failed',
    message: lost ? 'another vzdump runs on the node; this backup was not started' : `vzdump failed: ${reason}`,
    hint: lost
      ? 'Try again when it is over: felhom-agent backup status'
      : `On the host: ${job.upid === null ? `felhom-agent backup status ${job.vmid}` : `pvenode task log ${job.upid}`}`,
  };
  await durableIfPossible(driver, jobId, { ...set, phase: 'failed', error });
}

/** The UPID of a job that PVE started: the active task with the worker's pid. Null when the hook said the end before it was found. */
async function awaitUpid(driver: Driver, jobId: string): Promise<string | null> {
  const { hold_max, lost_start, task_poll } = driver.config.bounds;
  // A worker that is nowhere in the task list for this long is gone, and its hook calls were lost.
  const abandonedMs = driver.clock.monotonicMs() + hold_max + lost_start;
  let missesAfterEnd = 0;
  while (!driver.stop.aborted) {
    const job = mustGet(driver, jobId);
    if (job.upid !== null) return job.upid;
    const ended = driver.hookWord(jobId)?.end != null;
    try {
      const sinceSeconds = Math.floor(Date.parse(job.opened_at) / 1000) - 86_400;
      const tasks = await driver.ports.pve.tasks(ended ? { source: 'all', sinceSeconds } : { source: 'active' });
      const own = tasks.find(
        (task) =>
          task.type === 'vzdump' &&
          job.worker_pid !== null &&
          (task.pid === job.worker_pid || pidOf(task.upid) === job.worker_pid),
      );
      if (own !== undefined) await durableIfPossible(driver, jobId, { upid: own.upid });
      if (own !== undefined) continue;
    } catch (error) {
      driver.log('the task of a job that PVE started was not found', { job: jobId, error: text(error) });
    }
    if (ended) missesAfterEnd += 1;
    if (missesAfterEnd > 5) return null;
    if (driver.clock.monotonicMs() > abandonedMs) return null;
    await driver.jobs.waitFor(jobId, driver.jobs.told(jobId)?.seq ?? 0, Math.min(500, task_poll), driver.stop);
  }
  return null;
}

/** No task to read: what the hook said has to do. */
async function endByHook(driver: Driver, jobId: string): Promise<void> {
  if (driver.stop.aborted) return;
  const word = driver.hookWord(jobId);
  const job = mustGet(driver, jobId);
  await driver.ports.generations.raise(job.vmid);
  const settled: JobPatch = { task_ended: true, ...(job.ran === true ? { guest_owed: 'owed' as const } : {}) };
  if (word?.end === 'finished') await endWell(driver, jobId, settled);
  else
    await endBadly(
      driver,
      jobId,
      settled,
      word?.end === 'failed' ? 'its hook reported an abort' : `its task was not found (${isoNow(driver)})`,
    );
}
