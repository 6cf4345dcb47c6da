import type { ContainerState, EngineEvents } from '../engine/engine.ts';
import type { JobWatch } from './job-watch.ts';
import { type Debt, type Marker, stackOf } from './marker.ts';
import type { DebtHistory } from './pay.ts';
import { graceMs, hasWritableData, isAppData, planQuiesce, type QuiescePlan, toDebt } from './plan.ts';
import type { StartedGuard } from './ports.ts';
import { type Run, tellDeadline, words } from './run.ts';
import { aborted, type StopOutcome, stopAll } from './stop.ts';

/** Everything a run knows once its apps are (mostly) down. */
export interface AppsDown {
  plan: QuiescePlan;
  debts: Debt[];
  stops: ReadonlyMap<string, StopOutcome>;
  /** As seen after the stop; null: gone. Empty where nobody could look. */
  seen: ReadonlyMap<string, ContainerState | null>;
  events: EngineEvents | null;
  eventsTrouble: string | null;
  commandsFailed: string[];
  /** Wall clock. */
  stopBeganMs: number;
  /** Monotonic; null: no stop was sent. */
  firstStopMs: number | null;
  /** The gate closed, or somebody asked us to end, before every stop was sent. */
  halted: boolean;
}

export interface QuiesceInput {
  run: Run;
  watch: JobWatch;
  guard: StartedGuard;
  /** Debts of earlier runs that could not be settled: they stay in the marker. */
  owed: Marker | null;
  ownContainerId: string | null;
  engineId: string;
  /** The one stack that is to go down; without it all do. */
  only?: string;
  /** Aborts when the downtime has lasted as long as it may. */
  deadline: AbortSignal;
}

/** Looks at what runs, now that the host is ready. Nothing is stopped yet. */
export async function planRun({
  run,
  owed,
  ownContainerId,
  only,
}: Pick<QuiesceInput, 'run' | 'owed' | 'ownContainerId' | 'only'>): Promise<{
  plan: QuiescePlan;
  debts: Debt[];
}> {
  const containers = await run.ports.engine.list();
  const plan = planQuiesce({
    containers,
    policy: run.options.policy,
    ownContainerId,
    ...(only === undefined ? {} : { only }),
    owedStacks: new Set([...(owed?.debts ?? []).map(stackOf), ...run.owedBefore.map(({ stack }) => stack)]),
  });
  return { plan, debts: plan.stop.map((container) => toDebt(container, containers, run.id)) };
}

/**
 * Debt before deed: the marker is durable before anything else happens. Throws what the marker store
 * throws; then nothing was stopped. The data is synced meanwhile, so that the snapshot finds little to write.
 */
export async function promise(input: QuiesceInput, plan: QuiescePlan, debts: readonly Debt[]): Promise<void> {
  const { run, guard, owed, engineId } = input;
  const { bounds } = run.options;
  const { clock, markers, system } = run.ports;
  const nowMs = clock.nowMs();
  const deadlineMs = nowMs + bounds.maxQuiesceMs;
  guard.arm(bounds.maxQuiesceMs + bounds.hungHolderMs);
  const marker: Marker = {
    run_id: run.id,
    job_id: run.jobId,
    boot_id: run.bootId,
    engine_id: engineId,
    written_at_ms: nowMs,
    deadline_at_ms: deadlineMs,
    debts: [...(owed?.debts ?? []), ...debts],
    after_start: [...(owed?.after_start ?? []), ...plan.afterStart],
  };
  const paths = new Set(plan.stop.flatMap(({ mounts }) => mounts.filter(isAppData).map(({ source }) => source)));
  const synced = system
    .syncData([...paths], bounds.syncMs)
    .catch((error: unknown) => run.warn(`sync -f: ${words(error)}`));
  await tellDeadline(run, deadlineMs);
  await markers.write(marker);
  await inTime(run, synced);
}

/** A file system that hangs holds whoever syncs it, beyond every signal: it is left to itself. */
async function inTime({ ports: { clock }, options: { bounds }, warn }: Run, synced: Promise<void>): Promise<void> {
  const done = new AbortController();
  const late = clock.sleep(bounds.syncMs + syncEndMs, done.signal).then(() => {
    if (!done.signal.aborted) warn('sync -f of the data has not come to its end; the stop goes on without it');
  });
  await Promise.race([synced, late]);
  done.abort();
}

/** Above its bound: what a program takes to be ended. */
const syncEndMs = 3_000;

/** Opens the event stream that will tell whether something started meanwhile. Without it the grade says so. */
export async function openEvents(run: Run): Promise<Pick<AppsDown, 'events' | 'eventsTrouble'>> {
  try {
    return { events: await run.ports.engine.events(), eventsTrouble: null };
  } catch (error) {
    return { events: null, eventsTrouble: words(error) };
  }
}

/** Stops what the marker names. Ends early when the gate closes, a signal comes or the deadline passes. */
export async function stopApps(input: QuiesceInput, plan: QuiescePlan, debts: Debt[]): Promise<AppsDown> {
  const { run, watch, deadline } = input;
  const { clock, engine } = run.ports;
  const halt = new AbortController();
  const settled = new AbortController();
  void watch
    .until(({ lost, status }) => lost !== null || status?.phase !== 'ready', settled.signal)
    .then(() => halt.abort());
  void Promise.race([aborted(run.options.stop), aborted(deadline)]).then(() => halt.abort());
  const eventsOpening = openEvents(run);
  const commandsFailed = await runBeforeStop(run, plan, halt.signal);
  const { events, eventsTrouble } = await eventsOpening;
  const stopBeganMs = clock.nowMs();
  const firstStopMs = clock.monotonicMs();
  const watchStacks = stackStops(run, plan);
  const stops = await stopAll(
    plan.stop.map((container) => ({ id: container.id, graceMs: graceMs(container) })),
    plan.dependencies,
    { engine, clock, stopMarginMs: run.options.bounds.stopMarginMs, halt: halt.signal, ...watchStacks },
  );
  const halted = halt.signal.aborted;
  settled.abort();
  const states = halted ? null : await engine.inspect(plan.stop.map(({ id }) => id)).catch(() => null);
  const seen = new Map(states?.map((state, index) => [plan.stop[index]?.id ?? '', state]));
  const anySent = [...stops.values()].some(({ sentAtMs }) => sentAtMs !== null);
  return {
    plan,
    debts,
    stops,
    seen,
    events,
    eventsTrouble,
    commandsFailed,
    stopBeganMs,
    firstStopMs: anySent ? firstStopMs : null,
    halted,
  };
}

/** Marks in the timeline when each stack goes down and is down. */
function stackStops(run: Run, plan: QuiescePlan): { onSent: (id: string) => void; onAnswered: (id: string) => void } {
  const stacks = new Map(plan.stop.map((container) => [container.id, stackOf(container)]));
  const open = new Map<string, number>();
  for (const stack of stacks.values()) open.set(stack, (open.get(stack) ?? 0) + 1);
  const begun = new Set<string>();
  return {
    onSent: (id) => {
      const stack = stacks.get(id) ?? '';
      if (!begun.has(stack)) run.mark('stopping', stack);
      begun.add(stack);
    },
    onAnswered: (id) => {
      const stack = stacks.get(id) ?? '';
      const left = (open.get(stack) ?? 0) - 1;
      open.set(stack, left);
      if (left === 0) run.mark('stopped', stack);
    },
  };
}

async function runBeforeStop(run: Run, plan: QuiescePlan, halt: AbortSignal): Promise<string[]> {
  const failed: string[] = [];
  await Promise.all(
    plan.beforeStop.map(async ({ stack, service, command, containerId }) => {
      if (halt.aborted) return;
      const why = await commandTrouble(run, containerId, command);
      if (why === null) return run.mark('before_stop', stack);
      failed.push(`before_stop of ${stack} failed in ${service}: ${why}`);
      run.warn(`before_stop of ${stack} failed in ${service}: ${why}`);
    }),
  );
  return failed;
}

async function commandTrouble({ ports, options }: Run, containerId: string, command: string): Promise<string | null> {
  try {
    const { exitCode, output } = await ports.engine.exec(containerId, command, { boundMs: options.bounds.commandMs });
    if (exitCode === 0) return null;
    const said = output.trim().split('\n').at(-1) ?? '';
    return exitCode === null
      ? 'it took too long'
      : `exit code ${exitCode}${said === '' ? '' : ` (${said.slice(0, 200)})`}`;
  } catch (error) {
    return words(error);
  }
}

/** What the resume may rely on: which stops were sent, and which containers were seen down since. */
export function debtHistories({ debts, stops, seen }: AppsDown): Map<string, DebtHistory> {
  return new Map(
    debts.map((debt) => {
      const stop = stops.get(debt.id);
      const state = seen.get(debt.id) ?? null;
      const isDown = state !== null && (state.status === 'exited' || state.status === 'created');
      return [
        debt.id,
        {
          stopSent: stop === undefined || stop.sentAtMs !== null,
          seenDown: isDown && stop?.answeredAtMs != null && stop.failure === null,
          startedAt: isDown ? state.startedAt : debt.started_at,
        },
      ];
    }),
  );
}

/** Those that were seen not to be down after the stop. */
export function stillUp({ plan, seen }: AppsDown): ContainerState[] {
  return plan.stop.filter(({ id }) => {
    const state = seen.get(id);
    return state != null && state.status !== 'exited' && state.status !== 'dead';
  });
}

/** Those with data of their own that the engine had to kill. */
export function killed({ plan, seen }: AppsDown): ContainerState[] {
  return plan.stop.filter((container) => {
    const state = seen.get(container.id);
    return hasWritableData(container) && state != null && (state.exitCode === 137 || state.oomKilled);
  });
}
