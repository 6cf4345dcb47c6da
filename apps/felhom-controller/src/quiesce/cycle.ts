import { asFailure, Failure } from '@felhom/kernel/failure.ts';
import { type AppsDown, planRun, promise, type QuiesceInput, stillUp, stopApps } from './apps-down.ts';
import { resumeApps } from './apps-up.ts';
import { type CaptureEnd, capture } from './capture.ts';
import { type Conclusion, concludeRun } from './conclude.ts';
import { gatherEvidence } from './evidence.ts';
import { followJob } from './follow.ts';
import { cancelJob, openGate } from './gate.ts';
import { judgeGrade } from './grade.ts';
import { type HealthEnd, watchHealth } from './health.ts';
import { interruptionFailure, isTerminated } from './interruption.ts';
import type { JobWatch } from './job-watch.ts';
import type { Marker } from './marker.ts';
import type { BackupOptions } from './options.ts';
import type { RunPorts, StartedGuard } from './ports.ts';
import { reportBody, reportRun } from './report.ts';
import type { RunResult } from './result.ts';
import { newRun, noteBegin, openRunOf, type Run, words } from './run.ts';
import { settleEarlier } from './settle.ts';

/*
 * Invariants
 * - Nothing is stopped before this run itself saw `ready`, and not before the marker is durable.
 * - Once the marker is durable every way on leads through resumeApps, except two: our death, and a
 *   guest that is shutting down. In both the marker stays and somebody else settles it.
 * - The run lock is held from before the first look until after the report.
 */

export type { BackupOptions } from './options.ts';

export interface BackupEnd {
  result: RunResult;
  /** Exit code of the table in docs/architecture.md, section 10. */
  exit: number;
  failure: Failure | null;
}

const nothing: Omit<Conclusion, 'outcome' | 'failures'> = {
  grade: null,
  gradeReason: null,
  status: null,
  down: null,
  up: null,
  health: null,
};

/** One backup run. What happens to the run is in its end; thrown is only what comes before there is a run (`busy`, docker absent). */
export async function runBackup(ports: RunPorts, options: BackupOptions): Promise<BackupEnd> {
  const id = ports.system.newRunId();
  const bootId = await ports.system.bootId();
  const locked = await ports.lock.acquire('backup', id);
  if (locked.kind === 'busy') {
    throw new Failure('busy', {
      message: `another run is under way${locked.holder === null ? '' : ` (process ${locked.holder.pid}, ${locked.holder.what})`}; nothing was stopped`,
      hint: 'Wait for it to end, or see what it does: felhom-controller status',
    });
  }
  try {
    const run = newRun(ports, options, { id, bootId, lock: locked.lock });
    await noteBegin(run);
    const end = await underLock(run);
    await noteEnd(run, end.result);
    return end;
  } finally {
    await locked.lock.release();
  }
}

async function underLock(run: Run): Promise<BackupEnd> {
  try {
    const engine = await run.ports.engine.identity();
    const ownContainerId = await run.ports.system.ownContainerId();
    const owed = await settleEarlier(run);
    const guard = await startGuard(run);
    const gate = await openGate(run);
    if (gate.kind === 'over') {
      guard.disarm();
      return concludeRun(run, {
        ...nothing,
        outcome: gate.stop.outcome,
        failures: [gate.stop.failure],
        status: gate.watch?.view().status ?? null,
      });
    }
    try {
      if (gate.kind === 'passed') {
        guard.disarm();
        return await finish(run, gate.watch, { ...nothing, grade: 'crash-consistent', gradeReason: gate.why });
      }
      run.mark('ready');
      return await quiesced(run, gate.watch, { guard, owed, ownContainerId, engineId: engine.id });
    } finally {
      gate.watch.end();
    }
  } catch (error) {
    return concludeRun(run, { ...nothing, outcome: 'aborted', failures: [asFailure(error)] });
  }
}

async function noteEnd(run: Run, result: RunResult): Promise<void> {
  try {
    await run.ports.history.end(openRunOf(run), result);
  } catch (error) {
    run.warn(`the run could not be written to the history: ${words(error)}`);
  }
}

/** From the open gate to the end: the part in which apps are down. */
async function quiesced(
  run: Run,
  watch: JobWatch,
  own: { guard: StartedGuard; owed: Marker | null; ownContainerId: string | null; engineId: string },
): Promise<BackupEnd> {
  const limit = new AbortController();
  const settled = new AbortController();
  void run.ports.clock.sleep(run.options.bounds.maxQuiesceMs, settled.signal).then(() => limit.abort());
  const input: QuiesceInput = { run, watch, deadline: limit.signal, ...own };
  const { plan, debts } = await planRun(input);
  try {
    await promise(input, plan, debts);
  } catch (error) {
    own.guard.disarm();
    settled.abort();
    await cancelJob(run, true);
    return concludeRun(run, {
      ...nothing,
      outcome: 'aborted',
      failures: [asFailure(error)],
      status: watch.view().status,
    });
  }
  const down = await stopApps(input, plan, debts);
  const nothingStopped = plan.stop.length > 0 && !down.halted && stillUp(down).length === plan.stop.length;
  const captured = nothingStopped ? noneStopped : await captureSafely(run, watch, down, limit.signal);
  settled.abort();
  if (run.options.stop.aborted && !captured.proven && (await isLeftToBoot(run))) return leftToBoot(run, watch, down);
  if (captured.early !== null) run.mark('resuming_early');
  const cancelling = captured.cancelJob ? cancelJob(run, true) : Promise.resolve();
  const up = await resumeApps({ run, down, guard: own.guard, earlier: own.owed });
  down.events?.close();
  await cancelling;
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

/** Follows the job with the apps up, watches their health meanwhile, and reports. */
async function finish(
  run: Run,
  watch: JobWatch,
  sofar: Omit<Conclusion, 'outcome' | 'failures' | 'health'>,
): Promise<BackupEnd> {
  const { engine, clock, agent } = run.ports;
  const notWaited: { outcome: RunResult['outcome']; failure: null } = { outcome: 'running', failure: null };
  const [followed, health] = await Promise.all([
    run.options.wait ? followJob(run, watch) : notWaited,
    sofar.up === null || !run.options.wait
      ? null
      : watchHealth({ engine, clock }, sofar.up.paid, run.options.bounds, run.options.stop),
  ]);
  run.mark(followed.outcome);
  const status = watch.view().status;
  const isGraded = followed.outcome === 'done' || followed.outcome === 'running';
  const end = concludeRun(run, {
    ...sofar,
    ...(isGraded ? {} : { grade: null }),
    status,
    health: health satisfies HealthEnd | null,
    outcome: followed.outcome,
    failures: followed.failure === null ? [] : [followed.failure],
  });
  if (isGraded && run.jobId !== null) {
    const reported = await reportRun(
      { agent, clock },
      run.jobId,
      reportBody(end.result),
      run.options.bounds.pollRetryMs,
    );
    if (reported.kind !== 'accepted')
      run.warn(`the host was not told how the apps did (${reported.why}): it calls this backup crash-consistent`);
  }
  return end;
}

async function startGuard(run: Run): Promise<StartedGuard> {
  try {
    return await run.ports.guard.start();
  } catch (error) {
    run.warn(
      `no guard could be started (${words(error)}): if this process dies, the recovery timer brings the apps back`,
    );
    return { arm: () => undefined, disarm: () => undefined };
  }
}

/** Starting apps in a dying guest would only lose the marker. */
async function isLeftToBoot(run: Run): Promise<boolean> {
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
