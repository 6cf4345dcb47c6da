import { AgentError } from '@felhom/guest-api/agent-api.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { interruptionFailure } from './interruption.ts';
import { isTerminal, type JobView, type JobWatch, watchJob } from './job-watch.ts';
import { noteBegin, type Run, type RunStop, words } from './run.ts';

export type GateEnd =
  /** The host holds all it needs and this run has claimed the gate. */
  | { kind: 'ready'; watch: JobWatch }
  /** The host went on without asking: nothing is stopped, the job is followed. */
  | { kind: 'passed'; watch: JobWatch; why: string }
  /** Another backup was made since one was said to be due: this run has nothing to do. */
  | NotDue
  | { kind: 'over'; stop: RunStop; watch: JobWatch | null };

const askTimes = 4;
const nothingDown = 'nothing was stopped';

/** Asks for a backup, or joins or follows the one there is, and waits with nothing down until the host is ready. */
export async function openGate(run: Run): Promise<GateEnd> {
  const asked = await jobToFollow(run);
  if (asked.kind === 'not_due') return asked;
  if (asked.kind === 'over') return { ...asked, watch: null };
  run.jobId = asked.jobId;
  await noteBegin(run);
  const { clock, agent, progress } = run.ports;
  const watch = watchJob({
    agent,
    clock,
    jobId: asked.jobId,
    bounds: run.options.bounds,
    onStatus: (status) => progress({ kind: 'job', status }),
  });
  const tooLong = new AbortController();
  const waited = new AbortController();
  void clock.sleep(longestWaitMs(run), waited.signal).then(() => tooLong.abort());
  const view = await watch.until(
    (each) => isPastWaiting(each, run),
    AbortSignal.any([run.options.stop, tooLong.signal]),
  );
  waited.abort();
  return judgeGate(run, watch, view);
}

/** While apps of an earlier run are down, the run lock is recovery's: it is not kept from it for hours. */
function longestWaitMs({ owedBefore, options: { bounds } }: Run): number {
  return owedBefore.length === 0 ? bounds.maxWaitMs : Math.min(bounds.maxWaitMs, bounds.payRetryMs);
}

function isPastWaiting(view: JobView, run: Run): boolean {
  if (view.lost !== null) return true;
  if (view.status !== null) return view.status.phase !== 'queued' || isSilent(view, run);
  return isSilent(view, run);
}

/** With nothing down there is no reason to hope longer than a while. */
function isSilent(view: JobView, { ports, options }: Run): boolean {
  return view.lastTrouble !== null && ports.clock.monotonicMs() - view.heardAtMs > options.bounds.agentSilenceMs;
}

async function judgeGate(run: Run, watch: JobWatch, view: JobView): Promise<GateEnd> {
  const over = (outcome: RunStop['outcome'], failure: Failure): GateEnd => {
    watch.end();
    return { kind: 'over', watch, stop: { outcome, failure } };
  };
  if (view.lost !== null) return over('aborted', view.lost);
  if (run.options.stop.aborted) {
    await cancelJob(run, false);
    return over('interrupted', interruptionFailure(run.options.stop, `${nothingDown}; the backup was cancelled`));
  }
  const phase = view.status?.phase;
  if (phase === 'ready') return { kind: 'ready', watch };
  if (phase === 'capturing' || phase === 'snapshotted' || phase === 'done') {
    return { kind: 'passed', watch, why: view.status?.degraded ?? 'the host did not wait for the apps' };
  }
  if (isTerminal(view.status)) {
    const error = view.status?.error;
    return over('aborted', backupFailed(error?.message ?? `the job was ${phase ?? 'ended'}`, error?.hint));
  }
  if (view.lastTrouble !== null && isSilent(view, run)) {
    return over(
      'aborted',
      new Failure('agent_unreachable', {
        message: `the agent has not answered for a while: ${view.lastTrouble}; ${nothingDown}`,
        hint: 'Check on the host: systemctl status felhom-agent',
      }),
    );
  }
  await cancelJob(run, false);
  return over(
    'aborted',
    backupFailed(`the host was not ready within ${Math.round(longestWaitMs(run) / 60_000)} minutes`),
  );
}

function backupFailed(why: string, hint?: string): Failure {
  return new Failure('backup_failed', {
    message: `${why}; ${nothingDown}, the apps are running`,
    hint: hint ?? 'Look at the job on the host: felhom-agent backup status',
  });
}

type NotDue = { kind: 'not_due'; why: string };
type Asked = { kind: 'job'; jobId: string } | NotDue | { kind: 'over'; stop: RunStop };

async function jobToFollow(run: Run): Promise<Asked> {
  const { options, ports } = run;
  if (options.jobId !== null) return { kind: 'job', jobId: options.jobId };
  run.mark('requested');
  for (let attempt = 1; ; attempt += 1) {
    try {
      const body = { run_id: run.id, ...(options.storage === null ? {} : { storage: options.storage }) };
      // The run id is the idempotency key: asking again after a lost answer starts nothing twice.
      const { onlyIfDue, stop: signal } = options;
      const started = await ports.agent.start(body, { idempotencyKey: run.id, onlyIfDue, signal });
      return { kind: 'job', jobId: started.job_id };
    } catch (error) {
      if (options.stop.aborted) return over('interrupted', interruptionFailure(options.stop, nothingDown));
      if (!(error instanceof AgentError)) throw error;
      if (error.kind === 'busy') return joined(run, error);
      if (error.kind === 'not_due') return { kind: 'not_due', why: error.message };
      if (!error.outcomeUnknown || attempt >= askTimes) return over('aborted', withState(error));
      await ports.clock.sleep(options.bounds.pollRetryMs * attempt, options.stop);
    }
  }
}

/** What the agent did not say itself: how the apps are. Its own words about a refusal say it already. */
function withState(error: AgentError): Failure {
  if (error.status !== undefined && error.kind !== 'misbehaves') return error;
  return new Failure(error.code, {
    message: `${error.message}; ${nothingDown}, the apps are running`,
    hint: error.hint,
    cause: error,
  });
}

/** Another job is in the way: joined while nobody looks after it and nothing is captured yet. */
function joined(run: Run, error: AgentError): Asked {
  const { job } = error;
  if (job !== undefined && !job.claimed && (job.phase === 'queued' || job.phase === 'ready')) {
    run.mark('joined');
    return { kind: 'job', jobId: job.job_id };
  }
  return over('aborted', error);
}

function over(outcome: RunStop['outcome'], failure: Failure): Asked {
  return { kind: 'over', stop: { outcome, failure } };
}

/** Best effort and bounded: a job whose gate nobody claims ends by itself. */
export async function cancelJob(run: Run, force: boolean): Promise<void> {
  const { jobId } = run;
  if (jobId === null) return;
  try {
    await bounded(run, async (signal) => await run.ports.agent.cancel(jobId, { force, signal }));
    run.mark('cancelled');
  } catch (error) {
    run.warn(`the job ${jobId} could not be cancelled: ${words(error)}`);
  }
}

/** The apps run: at the hook the host has kept its archive back for them. It goes on by itself when it does not hear this. */
export async function tellResumed(run: Run): Promise<void> {
  const { jobId } = run;
  if (jobId === null) return;
  // An older agent does not know the call, and one that is gone has nothing to hold back.
  await bounded(run, async (signal) => await run.ports.agent.resumed(jobId, { signal })).catch(() => undefined);
}

const adviceBoundMs = 5_000;

/** One call that may fail: nothing waits for it longer than `adviceBoundMs`. */
async function bounded<T>({ ports }: Run, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const limit = new AbortController();
  const done = new AbortController();
  void ports.clock.sleep(adviceBoundMs, done.signal).then(() => limit.abort());
  try {
    return await call(limit.signal);
  } finally {
    done.abort();
  }
}
