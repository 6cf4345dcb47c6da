import { Failure } from '@felhom/kernel/failure.ts';
import type { ContainerState } from '../engine/engine.ts';
import { findNewcomer, findReplacement, judgeDebt } from './debt.ts';
import type { Debt } from './marker.ts';
import type { DebtHistory, PayOptions, PayPorts } from './pay.ts';

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
  needsStop(state: ContainerState | null): boolean;
}

/** Steps that one try takes at most: stop, replace, start, and a second start where the first met a stop in flight. */
const stepsPerTry = 6;

export function newTracker(debt: Debt, history: DebtHistory | undefined): DebtTracker {
  const tracker: DebtTracker = {
    debt: history === undefined ? debt : { ...debt, started_at: history.startedAt },
    id: debt.id,
    known: {
      untouched: history !== undefined && !history.stopSent,
      startedByUs: false,
      seenDown: history?.seenDown === true,
    },
    paid: null,
    why: 'not tried yet',
    needsStop: (state) => judgeDebt(tracker.debt, state, tracker.known).kind === 'stop_then_start',
  };
  return tracker;
}

/** One try: looks, acts, looks again, until it is paid or nothing more can be done for now. Never throws. */
export async function payOne(
  ports: PayPorts,
  tracker: DebtTracker,
  all: readonly DebtTracker[],
  options: PayOptions,
): Promise<void> {
  try {
    if (tracker.known.seenDown) {
      tracker.known.seenDown = false;
      await start(ports, tracker, options);
    }
    for (let step = 0; step < stepsPerTry && tracker.paid === null; step += 1) {
      const [state = null] = await ports.engine.inspect([tracker.id]);
      if (!(await act(ports, tracker, state, all, options))) break;
    }
  } catch (error) {
    tracker.why = error instanceof Failure ? error.message : String(error);
  }
  if (tracker.paid === null) options.onTrouble?.(tracker.debt, tracker.why);
}

/** Does what the verdict asks; true: look again. */
async function act(
  ports: PayPorts,
  tracker: DebtTracker,
  state: ContainerState | null,
  all: readonly DebtTracker[],
  options: PayOptions,
): Promise<boolean> {
  const verdict = judgeDebt(tracker.debt, state, tracker.known);
  switch (verdict.kind) {
    case 'paid':
      tracker.paid = verdict.how;
      options.onPaid?.(tracker.debt, verdict.how);
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
      await start(ports, tracker, options);
      return true;
    case 'stop_then_start':
      tracker.why = 'it still runs with its old start: its stop has not come to an end';
      await ports.engine.stop(tracker.id, { boundMs: tracker.debt.stop_grace_ms + options.bounds.stopMarginMs });
      await start(ports, tracker, options);
      return true;
    case 'replace':
      return replace(ports, tracker, all, options);
  }
}

async function start({ engine }: PayPorts, tracker: DebtTracker, { bounds }: PayOptions): Promise<void> {
  const answer = await engine.start(tracker.id, { boundMs: bounds.startMs });
  if (answer === 'gone') tracker.why = 'it, or the container whose network it lives in, is gone';
  tracker.known.startedByUs = answer === 'started';
}

/** Its container is gone: what took its place, else what Compose makes from the recorded files. */
async function replace(
  ports: PayPorts,
  tracker: DebtTracker,
  all: readonly DebtTracker[],
  options: PayOptions,
): Promise<boolean> {
  const { debt } = tracker;
  const taken = new Set(all.filter((other) => other !== tracker).map((other) => other.id));
  const before = await ports.engine.list();
  let found = findReplacement(debt, before, taken);
  if (found === null) {
    tracker.why = 'its container is gone';
    if (debt.project === null || debt.service === null || debt.compose_files.length === 0) return false;
    await ports.engine.recreate(
      {
        project: debt.project,
        service: debt.service,
        composeFiles: debt.compose_files,
        envFiles: debt.env_files,
        workingDir: debt.working_dir,
      },
      { boundMs: options.bounds.startMs, inheritFds: options.inheritFds },
    );
    const known = new Set([...before.map(({ id }) => id), ...taken]);
    found = findNewcomer(debt, await ports.engine.list(), known);
  }
  if (found === null) return false;
  tracker.id = found.id;
  tracker.known = { untouched: false, startedByUs: false, seenDown: false };
  return true;
}
