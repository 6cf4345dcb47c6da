import type { Clock } from '@felhom/kernel/clock.ts';
import type { Engine } from '../engine/engine.ts';
import type { QuiesceBounds } from './bounds.ts';
import { judgeDebt } from './debt.ts';
import type { Debt } from './marker.ts';
import { type Dependencies, dependenciesAmong } from './order.ts';
import { type DebtTracker, newTracker, type PayContext, payOne } from './pay-one.ts';
import { debtAsOrdered } from './plan.ts';
import { stopAll } from './stop.ts';
import { waitForDependencies } from './wait-dependencies.ts';

/*
 * Invariants
 * - A debt is paid only by what docker shows after the start: never by an answer, never by time.
 * - No debt waits for another beyond a bound, and no failure of one keeps another from being tried.
 * - Nothing here writes: apps come back on a full or read-only disk.
 * - Nothing here listens to a signal: once apps are down, only bounds end a resume.
 */

export interface PayPorts {
  engine: Engine;
  clock: Clock;
}

export interface PayOptions {
  bounds: QuiesceBounds;
  /** Descriptors that Compose inherits: the run lock. */
  inheritFds: readonly number[];
  /** What the run that stopped them knows; debts of a dead run have no entry. */
  known?: ReadonlyMap<string, DebtHistory>;
  onPaid?: (debt: Debt, how: string) => void;
  onTrouble?: (debt: Debt, why: string) => void;
}

/** What the process that stopped a container knows of it. */
export interface DebtHistory {
  stopSent: boolean;
  /** Seen down after its stop was answered: a start may be sent without another look. */
  seenDown: boolean;
  /** The start it had when it was seen down, where it had been started anew since the first look. */
  startedAt: string;
}

export interface PaidDebt {
  debt: Debt;
  /** The container that runs now: the debt's own, or what took its place. */
  id: string;
  how: string;
}

export interface PayEnd {
  paid: PaidDebt[];
  owed: { debt: Debt; why: string }[];
}

/** Brings back what is owed: exactly that, dependencies first, retried with backoff up to `payRetryMs`. */
export async function payDebts(ports: PayPorts, debts: readonly Debt[], options: PayOptions): Promise<PayEnd> {
  const { clock } = ports;
  const { bounds } = options;
  const trackers = debts.map((debt) => newTracker(debt, options.known?.get(debt.id)));
  const dependencies = dependenciesAmong(debts.map(debtAsOrdered));
  const context: PayContext = { ...options, trackers, renewals: new Map() };
  const endMs = clock.monotonicMs() + bounds.payRetryMs;
  await endStopsInFlight(ports, trackers, dependencies, options);
  await payRound(ports, dependencies, context);
  let pauseMs = bounds.payBackoffMs;
  while (trackers.some(({ paid }) => paid === null) && clock.monotonicMs() + pauseMs < endMs) {
    await clock.sleep(pauseMs);
    await payRound(ports, dependencies, context);
    pauseMs = Math.min(pauseMs * 2, bounds.payBackoffLimitMs);
  }
  return {
    paid: trackers.flatMap(({ debt, id, paid }) => (paid === null ? [] : [{ debt, id, how: paid }])),
    owed: trackers.flatMap(({ debt, paid, why }) => (paid === null ? [{ debt, why }] : [])),
  };
}

/**
 * A run that died may have left stops in flight: what still runs with the start recorded is stopped
 * first, in stop order, because a start now would be a no-op that succeeds.
 */
async function endStopsInFlight(
  { engine, clock }: PayPorts,
  trackers: readonly DebtTracker[],
  dependencies: Dependencies,
  { bounds }: PayOptions,
): Promise<void> {
  const unsure = trackers.filter(({ known }) => !known.seenDown && !known.untouched);
  if (unsure.length === 0) return;
  const states = await engine.inspect(unsure.map(({ id }) => id)).catch(() => null);
  if (states === null) return;
  const stillUp = unsure.filter(
    ({ debt, known }, index) => judgeDebt(debt, states[index] ?? null, known).kind === 'stop_then_start',
  );
  await stopAll(
    stillUp.map(({ id, debt }) => ({ id, graceMs: debt.stop_grace_ms })),
    dependencies,
    { engine, clock, stopMarginMs: bounds.stopMarginMs, halt: new AbortController().signal },
  );
}

/** One try for everything unpaid, each as soon as what it needs is up. */
async function payRound(ports: PayPorts, dependencies: Dependencies, context: PayContext): Promise<void> {
  const { trackers, bounds } = context;
  const byId = new Map(trackers.map((tracker) => [tracker.debt.id, tracker]));
  const tasks = new Map<string, Promise<void>>();
  const begin = (tracker: DebtTracker): Promise<void> => {
    const running = tasks.get(tracker.debt.id);
    if (running !== undefined) return running;
    const needs = (dependencies.get(tracker.debt.id) ?? []).flatMap((edge) => {
      const needed = byId.get(edge.id);
      return needed === undefined ? [] : [{ tracker: needed, condition: edge.condition }];
    });
    const task = (async () => {
      if (needs.length > 0) {
        await Promise.all(needs.map((need) => begin(need.tracker)));
        if (tracker.paid === null) await waitForDependencies(ports, needs, bounds.dependencyHealthMs);
      }
      if (tracker.paid === null) await payOne(ports, tracker, context);
    })();
    tasks.set(tracker.debt.id, task);
    return task;
  };
  await Promise.all(trackers.map(begin));
}
