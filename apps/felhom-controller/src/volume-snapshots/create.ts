import { asFailure, Failure } from '@felhom/kernel/failure.ts';
import { appsDown } from '../quiesce/apps-down-failure.ts';
import type { QuiesceBounds } from '../quiesce/bounds.ts';
import { interruptionFailure } from '../quiesce/interruption.ts';
import type { QuiescePolicy } from '../quiesce/policy.ts';
import type { RunPorts } from '../quiesce/ports.ts';
import type { OwedContainer } from '../quiesce/result.ts';
import { newRun, type Run } from '../quiesce/run.ts';
import { settleEarlier } from '../quiesce/settle.ts';
import { withStackDown } from '../quiesce/stack-down.ts';
import { startGuard } from '../quiesce/start-guard.ts';
import type { Captured, Snapshot, SnapshotPlan, VolumeSnapshots } from './contract.ts';
import { holdingRunLock } from './hold-lock.ts';
import { requireNotBetween } from './not-between.ts';

/*
 * Invariants
 * - Everything that can be asked is asked before the stack is stopped, and everything that can wait is done after it runs
 *   again: hashes, making the snapshot durable, retention.
 * - A snapshot that failed leaves no trace, and apps that ran run.
 */

export interface CreateOptions {
  stack: string;
  /** Stop the stack and bring it back; otherwise it must be down. */
  quiesce: boolean;
  reason: string;
  policy: QuiescePolicy;
  bounds: QuiesceBounds;
  /** Aborts at the first SIGINT or SIGTERM. */
  stop: AbortSignal;
}

export interface CreateEnd {
  /** `created` also where there was no data to keep: then the snapshot holds the stack's files and image ids. */
  outcome: 'created' | 'failed';
  plan: SnapshotPlan | null;
  snapshot: Snapshot | null;
  downtimeMs: number | null;
  took: StepTimes;
  owed: OwedContainer[];
  warnings: string[];
  failures: Failure[];
}

/** How long each step took; null: it was not come to. Only the capture is part of a downtime. */
export interface StepTimes {
  captureMs: number | null;
  /** Until it was durable. */
  keepMs: number | null;
  sealMs: number | null;
}

/** `snapshot create`. @throws Failure `busy`, `docker_unreachable`: before there was anything. */
export async function createSnapshot(
  ports: RunPorts,
  snapshots: VolumeSnapshots,
  options: CreateOptions,
): Promise<CreateEnd> {
  return await holdingRunLock(ports, options, async (lock, id) => {
    const run = newRun(ports, runOptions(options), { id, bootId: await ports.system.bootId(), lock });
    const end = (partial: Partial<CreateEnd>): CreateEnd => ({
      outcome: 'failed',
      plan: null,
      snapshot: null,
      downtimeMs: null,
      took: { captureMs: null, keepMs: null, sealMs: null },
      owed: [],
      warnings: run.warnings,
      failures: [],
      ...partial,
    });
    try {
      return end(await underLock(run, snapshots, options));
    } catch (error) {
      return end({ failures: [options.stop.aborted ? interrupted(options.stop) : asFailure(error)] });
    }
  });
}

function interrupted(stop: AbortSignal): Failure {
  return interruptionFailure(stop, 'no snapshot was kept, the apps are as they were', 'Run the same command again.');
}

function runOptions({ policy, bounds, stop }: CreateOptions): Run['options'] {
  return {
    policy,
    bounds,
    stop,
    storage: null,
    jobId: null,
    onlyIfDue: false,
    wait: true,
    wantedGrade: 'app-consistent',
  };
}

async function underLock(run: Run, snapshots: VolumeSnapshots, options: CreateOptions): Promise<Partial<CreateEnd>> {
  const { stack } = options;
  const owed = await settleEarlier(run);
  const stillOwed = run.owedBefore.filter((each) => each.stack === stack);
  if (stillOwed.length > 0) throw appsDown(stillOwed);
  await requireNotBetween(run.ports, stack);
  const prepared = await snapshots.prepare(stack);
  const { plan } = prepared;
  const took: StepTimes = { captureMs: null, keepMs: null, sealMs: null };
  const capture = async (signal: AbortSignal): Promise<Captured> => {
    const [captured, ms] = await timed(run, async () => await prepared.capture({ reason: options.reason, signal }));
    took.captureMs = ms;
    return captured;
  };
  const mustStop = options.quiesce && plan.running.length > 0 && plan.sources.length > 0;
  if (!mustStop)
    return { plan, took, ...(await keepAndSeal(run, snapshots, stack, await capture(options.stop), took)) };
  const guard = await startGuard(run.ports.guard, run.warn);
  const down = await withStackDown({ run, stack, guard, owed }, capture);
  const failures = down.owed.length === 0 ? [] : [appsDown(down.owed)];
  const sofar = { plan, took, downtimeMs: down.downtimeMs, owed: down.owed };
  if (down.outcome.kind === 'failed')
    return { ...sofar, failures: [...failures, withApps(down.outcome.failure, down.owed)] };
  const kept = await keepAndSeal(run, snapshots, stack, down.outcome.value, took);
  return { ...sofar, ...kept, failures: [...failures, ...(kept.failures ?? [])] };
}

async function timed<T>({ ports }: Run, work: () => Promise<T>): Promise<[T, number]> {
  const begunMs = ports.clock.monotonicMs();
  const value = await work();
  return [value, Math.round(ports.clock.monotonicMs() - begunMs)];
}

/** With the apps up again, or as they were: what fails here is a value beside what may be down. */
async function keepAndSeal(
  run: Run,
  snapshots: VolumeSnapshots,
  stack: string,
  captured: Captured,
  took: StepTimes,
): Promise<Partial<CreateEnd>> {
  let kept: Snapshot;
  try {
    [kept, took.keepMs] = await timed(run, async () => await captured.keep());
  } catch (error) {
    await captured.drop().catch(() => undefined); // The next one that is built sweeps it.
    return { failures: [asFailure(error)] };
  }
  try {
    const [snapshot, ms] = await timed(run, async () => await snapshots.seal(stack, kept.id));
    took.sealMs = ms;
    return { outcome: 'created', snapshot };
  } catch (error) {
    return { outcome: 'created', snapshot: kept, failures: [asFailure(error)] };
  }
}

/** Whoever reads a failure asks first how the apps are. */
function withApps(failure: Failure, owed: readonly OwedContainer[]): Failure {
  if (owed.length > 0 || /nothing was stopped/i.test(failure.message) || failure.code === 'bug') return failure;
  return new Failure(failure.code, {
    message: `${failure.message}. The stack runs again; no snapshot was kept`,
    hint: failure.hint,
    cause: failure,
  });
}
