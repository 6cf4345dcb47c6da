import { asFailure, Failure } from '@felhom/kernel/failure.ts';
import { type AppsDown, planRun, promise, type QuiesceInput, stillUp, stopApps } from './apps-down.ts';
import { resumeApps } from './apps-up.ts';
import { interruptionFailure } from './interruption.ts';
import type { JobWatch } from './job-watch.ts';
import type { Marker } from './marker.ts';
import type { QuiescePlan } from './plan.ts';
import type { StartedGuard } from './ports.ts';
import { isLeftToBoot } from './quiesced.ts';
import type { OwedContainer } from './result.ts';
import { type Run, words } from './run.ts';
import { settleEarlier } from './settle.ts';

/*
 * One stack down for a piece of work that asks nobody else: the same marker, guard, stop and resume as a backup's.
 *
 * Invariants
 * - Nothing is stopped before the marker is durable; once it is, every way on leads through a resume, except our death and
 *   a guest that is shutting down.
 * - The work begins only when every container of the stack was seen to be down, and is ended at the deadline.
 */

export interface StackDownRequest {
  run: Run;
  stack: string;
  guard: StartedGuard;
  /** What earlier runs owe: it stays in the marker. */
  owed: Marker | null;
}

export interface StackDownEnd<T> {
  /** What the work came to; a Failure also where it never began. */
  outcome: { kind: 'done'; value: T } | { kind: 'failed'; failure: Failure };
  /** Containers that could not be brought back. */
  owed: OwedContainer[];
  /** From the first stop to the last container running again; null: nothing was stopped. */
  downtimeMs: number | null;
}

/** Takes the stack down, works, brings exactly that back. Its failures are values. */
export async function withStackDown<T>(
  request: StackDownRequest,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<StackDownEnd<T>> {
  const { run, guard } = request;
  const limit = new AbortController();
  const settled = new AbortController();
  void run.ports.clock.sleep(run.options.bounds.maxQuiesceMs, settled.signal).then(() => limit.abort());
  try {
    return await goDown(request, limit.signal, work);
  } catch (error) {
    // A fault of ours, with a marker on disk: what it names is brought back without knowing anything else.
    run.warn(`internal error while ${request.stack} was down: ${words(error)}`);
    const left = await settleEarlier(run);
    if (left === null) guard.disarm();
    return { outcome: { kind: 'failed', failure: asFailure(error) }, owed: [...run.owedBefore], downtimeMs: null };
  } finally {
    settled.abort();
  }
}

async function goDown<T>(
  request: StackDownRequest,
  deadline: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<StackDownEnd<T>> {
  const { run, stack, guard, owed } = request;
  const input = await inputOf(request, deadline);
  const promised = await planAndPromise(input, stack);
  if (promised instanceof Failure) {
    guard.disarm();
    return { outcome: { kind: 'failed', failure: promised }, owed: [], downtimeMs: null };
  }
  const { plan, debts } = promised;
  const down = await stopApps(input, plan, debts);
  const outcome = await workSafely(run, down, stack, deadline, work);
  if (run.options.stop.aborted && (await isLeftToBoot(run))) {
    run.mark('left_to_boot');
    return { outcome, owed: [], downtimeMs: null };
  }
  const up = await resumeApps({ run, down, guard, earlier: owed });
  down.events?.close();
  const lastUpMs = Math.max(...up.upAtMs.values());
  const downtimeMs = down.firstStopMs === null || !Number.isFinite(lastUpMs) ? null : lastUpMs - down.firstStopMs;
  return { outcome, owed: up.owed, downtimeMs: downtimeMs === null ? null : Math.round(downtimeMs) };
}

async function inputOf({ run, stack, guard, owed }: StackDownRequest, deadline: AbortSignal): Promise<QuiesceInput> {
  return {
    run,
    guard,
    owed,
    deadline,
    only: stack,
    watch: nobodyToWatch,
    ownContainerId: await run.ports.system.ownContainerId(),
    engineId: (await run.ports.engine.identity()).id,
  };
}

/** Nobody but we ourselves decides when the apps come back. */
const nobodyToWatch: JobWatch = {
  view: () => ({ status: null, lost: null, heardAtMs: 0, lastTrouble: null }),
  until: (_, signal) =>
    new Promise((resolve) => {
      const answer = (): void => resolve(nobodyToWatch.view());
      if (signal.aborted) answer();
      else signal.addEventListener('abort', answer, { once: true });
    }),
  pollOnce: async () => nobodyToWatch.view(),
  end: () => undefined,
};

type Promised = Awaited<ReturnType<typeof planRun>>;

/** Looks and writes the marker. A Failure: nothing was stopped. */
async function planAndPromise(input: QuiesceInput, stack: string): Promise<Promised | Failure> {
  try {
    const planned = await planRun(input);
    const refusal = refuseKept(planned.plan, stack);
    if (refusal !== null) return refusal;
    await promise(input, planned.plan, planned.debts);
    return planned;
  } catch (error) {
    return asFailure(error);
  }
}

/** A stack of which something keeps running has data that moves: better said before anything is stopped. */
function refuseKept({ kept }: QuiescePlan, stack: string): Failure | null {
  const running = kept.filter((each) => each.stack === stack);
  if (running.length === 0) return null;
  return new Failure('stack_running', {
    message: `${stack} cannot be taken down as a whole: ${running.map(({ container, why }) => `${container} stays up (${why})`).join(', ')}. Nothing was stopped`,
    hint: `Stop it yourself (docker compose -p ${stack} stop), run the same command without --quiesce, then start it again.`,
  });
}

async function workSafely<T>(
  run: Run,
  down: AppsDown,
  stack: string,
  deadline: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<StackDownEnd<T>['outcome']> {
  const failed = (failure: Failure): StackDownEnd<T>['outcome'] => ({ kind: 'failed', failure });
  const up = stillUp(down);
  if (run.options.stop.aborted || deadline.aborted || down.halted) return failed(cutShort(run, stack));
  if (up.length > 0)
    return failed(
      wouldNotStop(
        stack,
        up.map(({ name }) => name),
      ),
    );
  try {
    return { kind: 'done', value: await work(AbortSignal.any([run.options.stop, deadline])) };
  } catch (error) {
    return failed(run.options.stop.aborted || deadline.aborted ? cutShort(run, stack) : asFailure(error));
  }
}

function cutShort({ options }: Run, stack: string): Failure {
  if (options.stop.aborted) return interruptionFailure(options.stop, 'nothing was kept', 'Run the same command again.');
  return new Failure('operation_failed', {
    message: `${stack} was down for ${Math.round(options.bounds.maxQuiesceMs / 1_000)} s (bounds.max_quiesce) and the work was not done`,
    hint: 'Raise bounds.max_quiesce, or use a file system that shares blocks (btrfs, XFS with reflink) for data and snapshots.',
  });
}

function wouldNotStop(stack: string, names: readonly string[]): Failure {
  return new Failure('stack_running', {
    message: `${names.join(', ')} of ${stack} could not be stopped`,
    hint: `Look at: docker ps; docker logs --tail 20 ${names[0] ?? stack}`,
  });
}
