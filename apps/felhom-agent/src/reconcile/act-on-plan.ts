import { convergeGuest, type GuestWork } from './converge-guest.ts';
import { patienceUntil } from './endings.ts';
import type { GuestBackoff } from './guest-backoff.ts';
import { type LastPass, lockedSince } from './last-pass.ts';
import type { Actual, Desired, DesiredGuest, GuestPlan, Plan, PlanOptions } from './model.ts';
import type { ReconcileLimits, ReconcilePorts } from './ports.ts';
import type { GuestReport } from './report.ts';
import { guestsUnderWay, type UnderWay } from './under-way.ts';

/*
 * A plan, done guest by guest, side by side.
 *
 * Invariants
 * - Nothing is done to a guest with an open entry, or at which an earlier pass of this process is still at work.
 * - One guest never keeps another from its turn, and never fails the pass. In a loop it does not keep the next pass
 *   from the others either: a pass waits for `patienceMs`, then what is under way is followed beside the passes to come.
 */

export interface Acting {
  plan: Plan;
  desired: Desired;
  actual: Actual;
  openJobs: ReadonlyMap<number, string>;
  /** Guests with an entry that could not be resolved at first look, and why. */
  open: ReadonlyMap<number, string>;
  /** Looks on until the deadline; null once the guest's entries are resolved, else why not. Never throws. */
  resolve: (vmid: number) => Promise<string | null>;
  before: LastPass | null;
  passId: string;
  /** Until when (monotonic) locks and tasks of others are waited out. */
  deadlineMs: number;
}

export interface ActOptions extends Pick<PlanOptions, 'allowMemoryBelowUse'> {
  limits: ReconcileLimits;
  /** Guests whose last tries failed, in a loop. */
  backoff?: GuestBackoff | undefined;
  /** In a loop: work may outlive its pass, which waits for it this long. */
  beyond?: { underWay: UnderWay; patienceMs: number } | undefined;
  stop: AbortSignal;
  /** Tasks are left to the journal (endings.ts). */
  leaving: AbortSignal;
}

/** `settled` resolves when no work of this pass is under way any more: with the reports, unless the loop went on before. */
export interface Acted {
  guests: GuestReport[];
  settled: Promise<void>;
}

export async function actOnPlan(ports: ReconcilePorts, acting: Acting, options: ActOptions): Promise<Acted> {
  const { beyond, leaving, limits } = options;
  const { clock } = ports;
  const underWay = beyond?.underWay ?? guestsUnderWay(limits.mutations);
  const closing = patienceUntil(clock, leaving, beyond?.patienceMs ?? null);
  const turn = turnOf(ports, acting, { ...options, underWay, closing: closing.signal });
  const begun = acting.plan.guests.map((guest) => turn(guest));
  const settled = Promise.all(begun.map(({ work }) => work)).then(() => closing.dispose());
  // Asked to end, work ends soon, and the pass with it. Those whose turn did not come say so before the report is made.
  const impatient = abortOf(closing.signal).then(async () => await (leaving.aborted ? settled : clock.sleep(0)));
  await (beyond === undefined ? settled : Promise.race([settled, impatient]));
  const guests = begun.map(({ guest, known, earlier }) =>
    joined(earlier, known ?? underWay.untold(guest.vmid) ?? stillUnderWay(guest)),
  );
  return { guests, settled };
}

/** What became of a guest's turn: `known` at once, or by `work` that was begun. */
interface Turn {
  guest: GuestPlan;
  known: GuestReport | null;
  work: Promise<void>;
  /** What work of an earlier pass came to since. */
  earlier: GuestReport | null;
}

function turnOf(
  ports: ReconcilePorts,
  acting: Acting,
  options: ActOptions & { underWay: UnderWay; closing: AbortSignal },
): (guest: GuestPlan) => Turn {
  const { desired, open, resolve, before, passId, deadlineMs } = acting;
  const { limits, allowMemoryBelowUse, backoff, underWay, closing, leaving, stop } = options;
  const declared = new Map(desired.guests.map((guest) => [guest.vmid, guest]));
  const converge = {
    passId,
    limits,
    plan: { allowMemoryBelowUse },
    lockedSinceMs: lockedSince(before),
    waitUntilMs: deadlineMs,
    stop,
    closing,
    leaving,
    enter: underWay.enter,
  };
  const nothing = Promise.resolve();
  return (guest) => {
    if (underWay.isWorking(guest.vmid)) return { guest, known: null, work: nothing, earlier: null };
    const earlier = underWay.untold(guest.vmid);
    const told = (known: GuestReport): Turn => ({ guest, known, work: nothing, earlier });
    const work = workFor(guest, declared.get(guest.vmid), acting);
    const unresolved = open.get(guest.vmid);
    if (unresolved !== undefined && ports.clock.monotonicMs() >= deadlineMs)
      return told(work === null ? asItStands(guest) : notResolved(guest, unresolved));
    if (work === null && unresolved === undefined) return told(asItStands(guest));
    const pause = backoff?.pauseOf(guest, ports.clock.monotonicMs()) ?? null;
    if (pause !== null) return told({ ...asItStands(guest), outcome: 'failed', ...pause });
    const doing = underWay.begin(guest.vmid, async () => {
      const still = unresolved === undefined ? null : await resolve(guest.vmid);
      if (work === null) return asItStands(guest);
      if (still !== null) return notResolved(guest, still);
      const report = await convergeGuest(ports, work, converge);
      backoff?.note(guest, report, ports.clock.monotonicMs());
      return report;
    });
    return { guest, known: null, work: doing, earlier };
  };
}

/** What is to be done, or waited for until it can be done; null where there is nothing of the kind. */
function workFor(
  planned: GuestPlan,
  declared: DesiredGuest | undefined,
  { plan, actual, openJobs }: Acting,
): GuestWork | null {
  const found = actual.guests.get(planned.vmid);
  if (declared === undefined || found === undefined) return null;
  const { standing } = planned;
  const waits = standing === 'deferred' && (found.lock !== null || openJobs.has(planned.vmid));
  if (standing !== 'drift' && !waits) return null;
  return { declared, planned, mayStop: plan.stops.includes(planned.vmid), kind: found.kind };
}

/** A guest of which this pass did nothing. */
export function asItStands({ vmid, name, standing, reason, hint, awaitingRestart }: GuestPlan): GuestReport {
  const outcome = standing === 'drift' ? 'deferred' : standing;
  return { vmid, name, outcome, reason, hint, actions: [], awaiting_restart: awaitingRestart };
}

function notResolved(guest: GuestPlan, why: string): GuestReport {
  return {
    ...asItStands(guest),
    outcome: 'deferred',
    reason: `an earlier action is not resolved: ${why}`,
    hint: 'felhom-agent journal list',
  };
}

function stillUnderWay(guest: GuestPlan): GuestReport {
  return {
    ...asItStands(guest),
    outcome: 'deferred',
    reason: 'what was begun is still under way; the passes go on without it, and one of them tells how it ended',
    hint: 'felhom-agent journal list --open',
  };
}

/** What an earlier pass began is told with what this one found: as it is now, with all that was done. */
function joined(earlier: GuestReport | null, now: GuestReport): GuestReport {
  if (earlier === null || earlier.actions.length === 0) return now;
  const wasDone = now.outcome === 'in_sync' && earlier.actions.some(({ outcome }) => outcome === 'done');
  return { ...now, outcome: wasDone ? 'applied' : now.outcome, actions: [...earlier.actions, ...now.actions] };
}

async function abortOf(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
