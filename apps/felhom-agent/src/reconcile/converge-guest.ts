import { asFailure } from '@felhom/kernel/failure.ts';
import { PveError } from '@felhom/proxmox/errors.ts';
import type { Lane } from '../lanes/lanes.ts';
import { describeAction } from './describe-action.ts';
import type { GuestOutcome } from './last-pass.ts';
import type { Action, Actual, ActualGuest, Desired, DesiredGuest, GuestPlan, PlanOptions } from './model.ts';
import { observeOne, whereIs } from './observe.ts';
import { type Performed, perform } from './perform.ts';
import { planGuests } from './plan.ts';
import type { ReconcileLimits, ReconcilePorts } from './ports.ts';
import type { ActionReport, GuestReport } from './report.ts';

/*
 * One guest that is not as declared, brought there.
 *
 * Invariants
 * - Its lane is held from the look to the last word, and one of the node's places for mutations while something is done.
 * - Once the pass closes nothing is begun any more: what is declared may be another thing by then. What was begun is
 *   followed, under the lane.
 * - What is done was planned on a look under the lane. After every deed the guest is looked at again: what PVE says
 *   that it did is not believed.
 * - Nobody is stopped who was not to be stopped when the whole plan was judged.
 * - Never throws for one guest: it is told in its report.
 */

export interface GuestWork {
  declared: DesiredGuest;
  /** As the plan of the whole node has it. */
  planned: GuestPlan;
  /** Whether the plan of the whole node, which was judged, stops it. */
  mayStop: boolean;
  kind: ActualGuest['kind'];
}

export interface ConvergeOptions {
  passId: string;
  limits: ReconcileLimits;
  plan: Pick<PlanOptions, 'allowMemoryBelowUse'>;
  lockedSinceMs: (vmid: number, lock: string) => number | null;
  /** Until when (monotonic) locks and tasks of others are waited out. */
  waitUntilMs: number;
  /** Ends waiting for others. */
  stop: AbortSignal;
  /** Nothing more is begun (endings.ts). */
  closing: AbortSignal;
  /** Tasks are left to the journal (endings.ts). */
  leaving: AbortSignal;
  /** Waits for a place of this process, and answers what gives it back; null when the pass closed before. */
  enter: (closing: AbortSignal) => Promise<(() => void) | null>;
}

/** Rounds of look, plan, act, look. More means that somebody else works against us. */
const rounds = 4;
const longestPollMs = 5_000;
const notBegun = 'the pass ended before its turn; the next one plans it anew';

export async function convergeGuest(
  ports: ReconcilePorts,
  work: GuestWork,
  options: ConvergeOptions,
): Promise<GuestReport> {
  const { clock } = ports;
  const done: ActionReport[] = [];
  for (let pollMs = options.limits.lockPollMs; ; pollMs = Math.min(pollMs * 1.5, longestPollMs)) {
    const leave = await options.enter(options.closing);
    if (leave === null) return report(leftToNextPass(work.planned), done);
    let once: Attempt;
    try {
      once = await attempt(ports, work, options, done);
    } catch (error) {
      once = options.leaving.aborted ? leftToNextPass(work.planned) : failed(work.planned, error);
    } finally {
      leave();
    }
    if (once.kind === 'over') return report(once, done);
    const leftMs = options.waitUntilMs - clock.monotonicMs();
    if (leftMs <= 0 || options.stop.aborted || options.closing.aborted)
      return report({ ...once, outcome: 'deferred' }, done);
    await clock.sleep(Math.min(pollMs, leftMs), options.stop);
  }
}

interface Told {
  plan: GuestPlan;
  reason: string | null;
  hint: string | null;
}
type Over = { kind: 'over'; outcome: GuestOutcome } & Told;
type Attempt = Over | ({ kind: 'wait' } & Told);

async function attempt(
  ports: ReconcilePorts,
  work: GuestWork,
  options: ConvergeOptions,
  done: ActionReport[],
): Promise<Attempt> {
  const { lanes } = ports;
  const { vmid } = work.declared;
  const held: Lane[] = [];
  const waitFor = (reason: string): Attempt => ({ kind: 'wait', plan: work.planned, reason, hint: null });
  try {
    const lane = await lanes.tryGuest(vmid);
    if (lane === null)
      return waitFor(`somebody else of ours is at work on it (${(await lanes.guestHolder(vmid)) ?? 'done by now'})`);
    held.push(lane);
    const place = await lanes.tryMutation(options.limits.mutations);
    if (place === null) return waitFor('as many guests as allowed are being changed already');
    held.push(place);
    return await underLane(ports, work, options, done);
  } finally {
    for (const each of held.toReversed()) await each.release();
  }
}

async function underLane(
  ports: ReconcilePorts,
  work: GuestWork,
  options: ConvergeOptions,
  done: ActionReport[],
): Promise<Attempt> {
  let before: string | null = null;
  for (let round = 1; round <= rounds; round += 1) {
    const { plan, waits } = await lookAndPlan(ports, work, options);
    const told = { plan, reason: plan.reason, hint: plan.hint };
    if (waits) return { kind: 'wait', ...told };
    if (plan.standing !== 'drift') return { kind: 'over', outcome: outcomeOf(plan, done), ...told };
    if (options.closing.aborted) return leftToNextPass(plan);
    if (!work.mayStop && plan.actions.some((action) => action.kind === 'shutdown'))
      return {
        kind: 'over',
        outcome: 'deferred',
        ...told,
        reason: 'it was started meanwhile; whether it may be stopped is judged by the next pass',
      };
    const wanted = JSON.stringify(plan.actions.map(withoutDigest));
    if (wanted === before)
      return {
        kind: 'over',
        outcome: 'failed',
        ...told,
        reason: 'Proxmox VE took the change, and the guest is not as declared',
      };
    const last = await performAll(
      ports,
      plan.actions,
      { ...options, key: `${options.passId}:${vmidOf(work)}:${done.length}` },
      done,
    );
    if (last.next === 'wait') return { kind: 'wait', plan, reason: last.reason, hint: last.hint };
    if (last.next === 'give-up') return { kind: 'over', outcome: 'failed', plan, reason: last.reason, hint: last.hint };
    if (last.next === 'leave') return { kind: 'over', outcome: 'deferred', plan, reason: last.reason, hint: last.hint };
    before = last.next === 'go-on' ? wanted : null;
  }
  return { kind: 'wait', plan: work.planned, reason: 'somebody else keeps changing it', hint: null };
}

/** In order, until one does not take effect; answers how the last one went. */
async function performAll(
  ports: ReconcilePorts,
  actions: readonly Action[],
  { key, limits, closing, leaving }: ConvergeOptions & { key: string },
  done: ActionReport[],
): Promise<Performed> {
  let last: Performed = { id: null, upid: null, outcome: null, reason: null, hint: null, next: 'look-again' };
  for (const [index, action] of actions.entries()) {
    if (closing.aborted) return { ...last, reason: notBegun, next: 'leave' };
    last = await perform(ports, action, { key: `${key}:${index}`, limits, leaving });
    const { id, upid, outcome, reason } = last;
    if (id !== null) done.push({ id, action: describeAction(action), upid, outcome, reason });
    if (last.next !== 'go-on') break;
  }
  return last;
}

async function lookAndPlan(
  ports: ReconcilePorts,
  { declared, kind }: GuestWork,
  { limits, plan: allowed, lockedSinceMs, leaving: signal }: ConvergeOptions,
): Promise<{ plan: GuestPlan; waits: boolean }> {
  const { pve, clock } = ports;
  const nowMs = clock.nowMs();
  const found = await observeOne(pve, declared, kind, { nowMs, reads: 1, lockedSinceMs, signal });
  const elsewhere = found === null ? await whereIs(pve, declared.vmid, signal) : null;
  const actual: Actual = {
    node: pve.node,
    observedAtMs: nowMs,
    guests: new Map(found === null ? [] : [[declared.vmid, found]]),
    elsewhere: new Map(elsewhere === null ? [] : [[declared.vmid, elsewhere]]),
  };
  const openJobs = await ports.openJobs();
  // The pass may have waited for minutes since it was planned: a person who took the guest meanwhile has it.
  const held = (await ports.heldNow(declared.vmid)) ?? declared.held;
  const desired: Desired = { guests: [{ ...declared, held }], problems: [], version: null };
  const options = { ...allowed, allowStops: 1, openJobs, nowMs, stuckAfterMs: limits.stuckMs };
  const [plan] = planGuests(desired, actual, options).guests;
  if (plan === undefined) throw new Error(`guest ${declared.vmid} has no plan`);
  const waits = plan.standing === 'deferred' && ((found?.lock ?? null) !== null || openJobs.has(declared.vmid));
  return { plan, waits };
}

function outcomeOf(plan: GuestPlan, done: readonly ActionReport[]): GuestOutcome {
  if (plan.standing === 'in_sync') return done.some(({ outcome }) => outcome === 'done') ? 'applied' : 'in_sync';
  return plan.standing === 'drift' ? 'deferred' : plan.standing;
}

/** A pass that closes begins nothing more. */
function leftToNextPass(plan: GuestPlan): Over {
  return { kind: 'over', outcome: 'deferred', plan, reason: notBegun, hint: null };
}

function failed(plan: GuestPlan, error: unknown): Attempt {
  const failure = asFailure(error);
  const reason = error instanceof PveError ? `${error.call}: ${error.text}` : failure.message;
  return { kind: 'over', outcome: 'failed', plan, reason, hint: failure.hint };
}

function report(
  { plan, outcome, reason, hint }: { outcome: GuestOutcome } & Told,
  actions: ActionReport[],
): GuestReport {
  const { vmid, name, awaitingRestart } = plan;
  return { vmid, name, outcome, reason, hint, actions, awaiting_restart: awaitingRestart };
}

function withoutDigest(action: Action): unknown {
  return action.kind === 'configure' ? { ...action, digest: '' } : action;
}

function vmidOf({ declared }: GuestWork): number {
  return declared.vmid;
}
