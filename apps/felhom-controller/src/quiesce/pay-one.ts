import { Failure } from '@felhom/kernel/failure.ts';
import type { ContainerState } from '../engine/engine.ts';
import { findNewcomer, findReplacement, judgeDebt } from './debt.ts';
import type { Debt } from './marker.ts';
import type { DebtHistory, PayOptions, PayPorts } from './pay.ts';
import { composeServiceOf, livesInNoNamespace, renew } from './renew.ts';

/** One debt on its way to being paid. */
export interface DebtTracker {
  readonly debt: Debt;
  /** The container that stands for it: its own, or what took its place. */
  id: string;
  known: { untouched: boolean; startedByUs: boolean; seenDown: boolean };
  /** How it was paid, or null. */
  paid: string | null;
  /** Why it is not paid yet. */
  why: string;
}

/** What all debts of one payment share. */
export interface PayContext extends PayOptions {
  trackers: readonly DebtTracker[];
  /** Services that Compose is making anew, by project and name. */
  renewals: Map<string, Promise<void>>;
}

/** Steps that one try takes at most: stop, replace, start, and a second start where the first met a stop in flight. */
const stepsPerTry = 6;

export function newTracker(debt: Debt, history: DebtHistory | undefined): DebtTracker {
  return {
    debt: history === undefined ? debt : { ...debt, started_at: history.startedAt },
    id: debt.id,
    known: {
      untouched: history !== undefined && !history.stopSent,
      startedByUs: false,
      seenDown: history?.seenDown === true,
    },
    paid: null,
    why: 'not tried yet',
  };
}

/** One try: looks, acts, looks again, until it is paid or nothing more can be done for now. Never throws. */
export async function payOne(ports: PayPorts, tracker: DebtTracker, context: PayContext): Promise<void> {
  try {
    if (tracker.known.seenDown) {
      tracker.known.seenDown = false;
      await start(ports, tracker, context);
    }
    for (let step = 0; step < stepsPerTry && tracker.paid === null; step += 1) {
      const [state = null] = await ports.engine.inspect([tracker.id]);
      if (!(await act(ports, tracker, state, context))) break;
    }
  } catch (error) {
    tracker.why = error instanceof Failure ? error.message : String(error);
  }
  if (tracker.paid === null) context.onTrouble?.(tracker.debt, tracker.why);
}

/** Does what the verdict asks; true: look again. */
async function act(
  ports: PayPorts,
  tracker: DebtTracker,
  state: ContainerState | null,
  context: PayContext,
): Promise<boolean> {
  const verdict = judgeDebt(tracker.debt, state, tracker.known);
  switch (verdict.kind) {
    case 'paid':
      tracker.paid = verdict.how;
      context.onPaid?.(tracker.debt, verdict.how);
      return false;
    case 'wait':
      tracker.why = verdict.why;
      return false;
    case 'start':
      if (tracker.known.startedByUs && state !== null && state.startedAt !== tracker.debt.started_at) {
        tracker.why = `it started and ended at once with exit code ${state.exitCode}`;
        tracker.known.startedByUs = false;
        return false;
      }
      return await start(ports, tracker, context);
    case 'stop_then_start':
      tracker.why = 'it still runs with its old start: its stop has not come to an end';
      await ports.engine.stop(tracker.id, { boundMs: tracker.debt.stop_grace_ms + context.bounds.stopMarginMs });
      return await start(ports, tracker, context);
    case 'replace':
      return replace(ports, tracker, context);
  }
}

/** True: look again. */
async function start(ports: PayPorts, tracker: DebtTracker, context: PayContext): Promise<boolean> {
  try {
    const answer = await ports.engine.start(tracker.id, { boundMs: context.bounds.startMs });
    tracker.known.startedByUs = answer === 'started';
    if (answer !== 'gone') return true;
  } catch (error) {
    if (!(await livesInNoNamespace(ports, tracker))) throw error;
    return await renew(ports, tracker, context);
  }
  tracker.why = 'it is gone';
  return (await livesInNoNamespace(ports, tracker)) ? await renew(ports, tracker, context) : true;
}

/** Its container is gone: what took its place, else what Compose makes from the recorded files. */
async function replace(ports: PayPorts, tracker: DebtTracker, context: PayContext): Promise<boolean> {
  const { debt } = tracker;
  const taken = new Set(context.trackers.filter((other) => other !== tracker).map((other) => other.id));
  const before = await ports.engine.list();
  let found = findReplacement(debt, before, taken);
  if (found === null) {
    tracker.why = 'its container is gone';
    const service = composeServiceOf(debt);
    if (service === null) return false;
    const { bounds, inheritFds } = context;
    await ports.engine.recreate(service, { which: 'missing', boundMs: bounds.startMs, inheritFds });
    const known = new Set([...before.map(({ id }) => id), ...taken]);
    found = findNewcomer(debt, await ports.engine.list(), known);
  }
  if (found === null) return false;
  tracker.id = found.id;
  tracker.known = { untouched: false, startedByUs: false, seenDown: false };
  return true;
}
