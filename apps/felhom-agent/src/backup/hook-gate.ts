import { type Driver, durableIfPossible, type HookWord, isoNow, mustGet } from './driver.ts';
import { isCalling } from './gate.ts';
import { isTerminal, type Job, newJob } from './job.ts';
import { createNotifier } from './notifier.ts';

/** One call of vzdump's hook, as our script passes it on. */
export interface HookCall {
  phase: string;
  mode: string | null;
  vmid: number | null;
  /** The worker that called the hook: field 2 of its task's UPID. */
  pid: number | null;
  storage: string | null;
  vmtype: string | null;
  target: string | null;
}

/** `go`, `ok`, `fail REASON` or `gate ID SECONDS`. */
export type HookAnswer = string;

export interface HookGate {
  call(call: HookCall): Promise<HookAnswer>;
  wait(gateId: string, signal: AbortSignal): Promise<HookAnswer>;
  word(jobId: string): HookWord | undefined;
}

export interface HookGateOptions {
  driver: Driver;
  newId: () => string;
  hostBootId: string;
  launch: (jobId: string) => void;
  /** Whether we answer for this guest at all. */
  knows: (vmid: number) => boolean;
}

const waitMs = 20_000;
const wordsKept = 256;

/**
 * The hook's side of the gate. vzdump waits for every answer with its node lock held, so each is given
 * at once, but for the one wait at `pre-stop` that the gate bounds. Hook calls never wait for a lane.
 */
export function createHookGate(options: HookGateOptions): HookGate {
  const { driver } = options;
  const words = new Map<string, HookWord>();
  const said = (jobId: string, word: Partial<HookWord>): void => {
    words.set(jobId, { end: null, target: null, ...words.get(jobId), ...word });
    for (const key of words.keys()) if (words.size > wordsKept) words.delete(key);
  };
  return {
    word: (jobId) => words.get(jobId),
    wait: async (gateId, signal) => {
      const job = driver.jobs.get(gateId);
      if (job === undefined) return 'go';
      // Its verdict may be lost with the agent that gave it.
      if (job.phase === 'failed' || job.phase === 'cancelled') return refusal(job);
      if (job.phase === 'queued') await admit(driver, job);
      if (driver.jobs.get(gateId)?.phase === 'ready') driver.gates.open(gateId);
      const verdict = await driver.gates.waitVerdict(gateId, waitMs, signal);
      if (verdict !== undefined) return verdict.kind === 'go' ? 'go' : `fail ${verdict.reason}`;
      return driver.jobs.get(gateId)?.phase === 'ready' ? 'wait' : 'go';
    },
    call: async (call) => {
      if (call.vmid === null || !options.knows(call.vmid)) return 'go';
      if (call.phase === 'backup-start' || call.phase === 'pre-stop') {
        const job = await matchOrOpen(options, call);
        if (job === null) return 'go';
        return call.phase === 'pre-stop' ? await atPreStop(options, job, call) : 'go';
      }
      const job = await match(driver, call);
      if (job === undefined) {
        if (call.phase === 'backup-end' || call.phase === 'pre-restart')
          await driver.ports.generations.raise(call.vmid);
        return 'ok';
      }
      await atLaterPhase(driver, job, call, said);
      return 'ok';
    },
  };
}

/** The job that this worker works for. While a POST of ours for this guest is unanswered, its answer is waited for. */
async function match(driver: Driver, call: HookCall): Promise<Job | undefined> {
  const { clock, config, jobs } = driver;
  const deadline = clock.monotonicMs() + config.bounds.hook_match;
  const changed = createNotifier(clock);
  const stopListening = jobs.onChange(() => changed.notify());
  try {
    for (;;) {
      const open = jobs.ofGuest(call.vmid ?? 0).filter((job) => !job.task_ended);
      const own = open.findLast((job) => job.worker_pid !== null && job.worker_pid === call.pid);
      const inFlight = open.some((job) => job.intent_at !== null && job.upid === null);
      const left = deadline - clock.monotonicMs();
      if (own !== undefined || !inFlight || left <= 0 || driver.stop.aborted) return own;
      await changed.wait(left, driver.stop);
    }
  } finally {
    stopListening();
  }
}

async function matchOrOpen(options: HookGateOptions, call: HookCall): Promise<Job | null> {
  const { driver } = options;
  const own = await match(driver, call);
  if (own !== undefined) return own;
  if (driver.config.pve_jobs === 'ignore' || call.vmid === null) return null;
  const job = newJob({
    job_id: options.newId(),
    vmid: call.vmid,
    origin: 'pve',
    opened_at: isoNow(driver),
    host_boot_id: options.hostBootId,
    quiesce: true,
    gate: 'hook',
    storage: call.storage,
    worker_pid: call.pid,
    guest_kind: call.vmtype === 'qemu' ? 'qemu' : 'lxc',
    mode: modeOf(call.mode),
    ran: call.phase === 'pre-stop' ? true : null,
  });
  try {
    await driver.jobs.open(job);
  } catch (error) {
    driver.log('a job of PVE is not on record', { vmid: call.vmid, error: String(error) });
    return null;
  }
  options.launch(job.job_id);
  return job;
}

function modeOf(mode: string | null): Job['mode'] {
  return mode === 'snapshot' || mode === 'suspend' || mode === 'stop' ? mode : null;
}

/** vzdump is about to freeze or stop the guest: the moment at which the apps should go down. */
async function atPreStop({ driver }: HookGateOptions, job: Job, call: HookCall): Promise<HookAnswer> {
  const mode = modeOf(call.mode);
  await durableIfPossible(driver, job.job_id, {
    mode,
    ran: true,
    ...(job.guest_kind === null ? { guest_kind: call.vmtype === 'qemu' ? 'qemu' : 'lxc' } : {}),
  });
  const now = mustGet(driver, job.job_id);
  const verdict = driver.gates.verdict(job.job_id);
  if (isTerminal(now) || verdict?.kind === 'fail') return refusal(now);
  if (now.phase !== 'queued') return now.phase === 'ready' ? gateAnswer(driver, now) : 'go';
  const policy = driver.policyOf(now);
  if (now.origin !== 'pve' && mode !== null && mode !== policy.mode && policy.onDowngrade === 'abort')
    return await refuseDowngrade(driver, now, mode);
  if (!now.quiesce) return await passThrough(driver, now, now.degraded);
  const calling =
    now.claimed || isCalling(driver.lastRequestMs(now.vmid), driver.config.bounds, driver.clock.monotonicMs());
  if (!calling) {
    if (now.origin === 'pve' && driver.config.pve_jobs === 'require_quiesce') return await refuseUnwatched(driver, now);
    return await passThrough(driver, now, 'no_watcher');
  }
  // Not waited for: a hook that has its gate comes back through our death, one without an answer would not wait at all.
  void admit(driver, now);
  return gateAnswer(driver, mustGet(driver, job.job_id));
}

function refusal({ error }: Job): HookAnswer {
  return `fail ${error?.message ?? 'this backup was cancelled'}`;
}

function gateAnswer(driver: Driver, job: Job): HookAnswer {
  driver.gates.open(job.job_id);
  // A second more than the gate has: our word at its end comes first, and the hook's own limit is for an agent that died.
  const seconds = Math.ceil(driver.config.bounds.hold_max / 1000) + 1;
  return `gate ${job.job_id} ${seconds}`;
}

/** The gate opens before it is told, so that the first poll that sees `ready` finds it open. */
async function admit(driver: Driver, job: Job): Promise<void> {
  driver.gates.open(job.job_id);
  await durableIfPossible(driver, job.job_id, { phase: 'ready' });
}

async function passThrough(driver: Driver, job: Job, degraded: string | null): Promise<HookAnswer> {
  await durableIfPossible(driver, job.job_id, {
    phase: 'capturing',
    quiesce: false,
    degraded: degraded ?? job.degraded,
  });
  return 'go';
}

async function refuseDowngrade(driver: Driver, job: Job, mode: string): Promise<HookAnswer> {
  const message = `vzdump fell back to ${mode} mode; the backup was ended, the apps keep running`;
  await durableIfPossible(driver, job.job_id, {
    phase: 'failed',
    error: {
      code: 'mode_downgrade',
      message,
      hint: 'Move the volume that has no snapshots, exclude it (backup=0), or set on_downgrade: accept.',
    },
  });
  return `fail ${message}`;
}

async function refuseUnwatched(driver: Driver, job: Job): Promise<HookAnswer> {
  const message = `no controller of guest ${job.vmid} is calling, and pve_jobs: require_quiesce wants one`;
  await durableIfPossible(driver, job.job_id, {
    phase: 'failed',
    error: { code: 'policy_refused', message, hint: 'Look at felhom-controller status in the guest.' },
  });
  return `fail ${message}`;
}

/**
 * `pre-restart` proves a container's snapshot; the apps wait for this word, so it is told before it is written.
 * They start with the disk to themselves: vzdump writes its archive once they run, or after `resume_hold`.
 */
async function atLaterPhase(
  driver: Driver,
  job: Job,
  call: HookCall,
  said: (jobId: string, word: Partial<HookWord>) => void,
): Promise<void> {
  const proves =
    call.phase === 'pre-restart' && call.vmtype !== 'qemu' && (call.mode === 'snapshot' || call.mode === 'suspend');
  if (proves) {
    if (job.phase === 'ready' || job.phase === 'queued') {
      void durableIfPossible(driver, job.job_id, { phase: 'capturing', degraded: job.degraded ?? 'gate_closed' });
    }
    if (mustGet(driver, job.job_id).phase === 'capturing') {
      void durableIfPossible(driver, job.job_id, { phase: 'snapshotted', proof: 'hook pre-restart' });
    }
    // A copy of this archive cannot call before it is whole.
    void driver.ports.generations.raise(job.vmid);
    const isDownFor = job.quiesce && mustGet(driver, job.job_id).degraded === null;
    if (isDownFor) await driver.gates.waitAppsUp(job.job_id, driver.config.bounds.resume_hold, driver.stop);
  }
  if (call.phase === 'backup-end') said(job.job_id, { target: call.target });
  if (call.phase === 'backup-abort') said(job.job_id, { end: 'failed' });
  if (call.phase === 'log-end') said(job.job_id, { end: driver.hookWord(job.job_id)?.end ?? 'finished' });
  if (call.phase === 'log-end' || call.phase === 'backup-abort') driver.jobs.touch(job.job_id);
}
