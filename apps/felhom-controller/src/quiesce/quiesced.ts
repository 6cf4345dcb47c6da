import { asFailure, Failure } from '@felhom/kernel/failure.ts';
import { type AppsDown, planRun, promise, type QuiesceInput, stillUp, stopApps } from './apps-down.ts';
import { resumeApps } from './apps-up.ts';
import { type CaptureEnd, capture } from './capture.ts';
import { concludeRun, nothing } from './conclude.ts';
import type { BackupEnd } from './end.ts';
import { gatherEvidence } from './evidence.ts';
import { finish } from './finish.ts';
import { cancelJob, tellResumed } from './gate.ts';
import { judgeGrade } from './grade.ts';
import { interruptionFailure, isTerminated } from './interruption.ts';
import type { JobWatch } from './job-watch.ts';
import type { Marker } from './marker.ts';
import type { StartedGuard } from './ports.ts';
import { type Run, words } from './run.ts';
import { settleEarlier } from './settle.ts';

/*
 * Invariants
 * - Nothing is stopped before the marker is durable.
 * - Once it is, every way on leads through a resume, except two: our death, and a guest that is
 *   shutting down. In both the marker stays and somebody else settles it.
 */

/** From the open gate to the end: the part in which apps are down. */
export async function quiesced(
  run: Run,
  watch: JobWatch,
  own: { guard: StartedGuard; owed: Marker | null; ownContainerId: string | null; engineId: string },
): Promise<BackupEnd> {
  const limit = new AbortController();
  const settled = new AbortController();
  void run.ports.clock.sleep(run.options.bounds.maxQuiesceMs, settled.signal).then(() => limit.abort());
  const input: QuiesceInput = { run, watch, deadline: limit.signal, ...own };
  const promised = await planAndPromise(input);
  if (promised instanceof Failure) {
    own.guard.disarm();
    settled.abort();
    await cancelJob(run, true);
    return concludeRun(run, { ...nothing, outcome: 'aborted', failures: [promised], status: watch.view().status });
  }
  try {
    return await whileDown(input, promised, settled);
  } catch (error) {
    // A fault of ours, with a marker on disk: what it names is brought back without knowing anything else.
    settled.abort();
    run.warn(`internal error while the apps were down: ${words(error)}`);
    const left = await settleEarlier(run);
    if (left === null) own.guard.disarm();
    return concludeRun(run, {
      ...nothing,
      outcome: 'failed',
      failures: [asFailure(error)],
      status: watch.view().status,
    });
  }
}

type Promised = Awaited<ReturnType<typeof planRun>>;

/** Looks and writes the marker. A Failure: nothing was stopped, and nothing is owed that was not owed before. */
async function planAndPromise(input: QuiesceInput): Promise<Promised | Failure> {
  try {
    const planned = await planRun(input);
    await promise(input, planned.plan, planned.debts);
    return planned;
  } catch (error) {
    return asFailure(error);
  }
}

/** Stop, capture, resume; then the end with the apps up. */
async function whileDown(input: QuiesceInput, { plan, debts }: Promised, settled: AbortController): Promise<BackupEnd> {
  const { run, watch } = input;
  const down = await stopApps(input, plan, debts);
  const nothingStopped = plan.stop.length > 0 && !down.halted && stillUp(down).length === plan.stop.length;
  const captured = nothingStopped ? noneStopped : await captureSafely(run, watch, down, input.deadline);
  settled.abort();
  if (run.options.stop.aborted && !captured.proven && (await isLeftToBoot(run))) return leftToBoot(run, watch, down);
  if (captured.early !== null) run.mark('resuming_early');
  const cancelling = captured.cancelJob ? cancelJob(run, true) : Promise.resolve();
  const up = await resumeApps({ run, down, guard: input.guard, earlier: input.owed });
  down.events?.close();
  await Promise.all([cancelling, watch.view().status?.gate === 'hook' ? tellResumed(run) : undefined]);
  const { grade, reason } = judgeGrade(gatherEvidence(down, captured, up, watch.view().status));
  const conclusion = { ...nothing, down, up, grade, gradeReason: reason };
  if (nothingStopped)
    return concludeRun(run, { ...conclusion, outcome: 'failed', grade: null, failures: [nothingStoppedFailure()] });
  return finish(run, watch, conclusion);
}

const noneStopped: CaptureEnd = {
  proven: false,
  early: 'nothing could be stopped',
  cancelJob: true,
  runningAtProof: null,
  eventsBroken: null,
};

/** A fault of ours here must not keep the apps down. */
async function captureSafely(run: Run, watch: JobWatch, down: AppsDown, deadline: AbortSignal): Promise<CaptureEnd> {
  try {
    return await capture(run, watch, down, deadline);
  } catch (error) {
    run.warn(`internal error while waiting for the snapshot: ${words(error)}`);
    return { proven: false, early: words(error), cancelJob: false, runningAtProof: null, eventsBroken: null };
  }
}

/** Starting apps in a dying guest would only lose the marker. */
export async function isLeftToBoot(run: Run): Promise<boolean> {
  try {
    return isTerminated(run.options.stop) && (await run.ports.system.isStopping());
  } catch {
    // Nobody could say: then apps come back, which is right in a guest that lives on.
    return false;
  }
}

function leftToBoot(run: Run, watch: JobWatch, down: AppsDown): BackupEnd {
  run.mark('left_to_boot');
  const failure = interruptionFailure(
    run.options.stop,
    'the guest is shutting down: its apps are started at the next boot',
    'Nothing to do: felhom-controller recover runs at boot.',
  );
  return concludeRun(run, {
    ...nothing,
    outcome: 'interrupted',
    failures: [failure],
    down,
    status: watch.view().status,
  });
}

function nothingStoppedFailure(): Failure {
  return new Failure('nothing_stopped', {
    message: 'no container could be stopped; the backup was cancelled and the apps are running',
    hint: 'Look at: docker ps; journalctl -u docker',
  });
}
