import { chooseGuests } from '../desired/choose.ts';
import type { PassHint } from './change-hint.ts';
import { convergeGuest, type GuestWork } from './converge-guest.ts';
import { describeAction } from './describe-action.ts';
import type { GuestBackoff } from './guest-backoff.ts';
import { places } from './in-parallel.ts';
import { isWorthWriting, type LastPass, lockedSince } from './last-pass.ts';
import type { Actual, Desired, DesiredGuest, GuestPlan, Plan, PlanOptions } from './model.ts';
import { observe } from './observe.ts';
import { planGuests } from './plan.ts';
import type { ReconcileLimits, ReconcilePorts } from './ports.ts';
import { recoverActions } from './recover.ts';
import { type GuestReport, makeReport, type PassReport, rememberPass } from './report.ts';

/*
 * One pass: what is open is resolved, then observe, plan, act, observe again, guest by guest, side by side.
 *
 * Invariants
 * - Nothing is planned for a guest with an open entry: it is resolved first, or the guest is deferred.
 * - A plan that is refused is not done at all.
 * - One guest never keeps another from its turn, and never fails the pass.
 */

export interface PassOptions extends Pick<PlanOptions, 'allowStops' | 'allowMemoryBelowUse'> {
  limits: ReconcileLimits;
  /** Only these guests; null: all that are declared. */
  vmids: readonly number[] | null;
  /** How long locks, backups and tasks of others are waited out, milliseconds. */
  lockTimeoutMs: number;
  /** Guests whose last tries failed, in a loop. */
  backoff?: GuestBackoff | undefined;
  stop: AbortSignal;
}

/**
 * Throws PveError when the node cannot be asked at all, Failure `config_invalid` when what is declared cannot be
 * read at all, and `unknown_guest` for one of `vmids` of which nothing is declared. Nothing was changed then.
 */
export async function runPass(ports: ReconcilePorts, options: PassOptions): Promise<PassReport> {
  const { clock, memory } = ports;
  const passId = ports.newId();
  const startedMs = clock.nowMs();
  const deadlineMs = clock.monotonicMs() + options.lockTimeoutMs;
  const recovered = await recoverActions(ports, { ...options, deadlineMs });
  const desired = chooseGuests(await ports.desired.read(), options.vmids ?? []);
  const before = await memory.read();
  const { plan, actual, openJobs } = await lookAndPlan(ports, desired, before, options);
  const open = new Map(
    recovered.filter(({ outcome }) => outcome === 'open').map(({ vmid, reason }) => [vmid, reason ?? '']),
  );
  const guests =
    plan.refused === null
      ? await act(ports, { plan, desired, actual, openJobs, open, before, passId, deadlineMs }, options)
      : plan.guests.map(asItStands);
  const report = makeReport({
    pass_id: passId,
    node: ports.pve.node,
    startedMs,
    endedMs: clock.nowMs(),
    desired: { guests: desired.guests.length, version: desired.version },
    recovered,
    planned: plan.guests
      .filter(({ actions }) => actions.length > 0)
      .map(({ vmid, actions }) => ({ vmid, actions: actions.map(describeAction) })),
    guests,
    problems: plan.problems,
    refused: plan.refused,
  });
  const locks = [...actual.guests.values()].flatMap(({ vmid, lock, lockedSinceMs: sinceMs }) =>
    lock === null || sinceMs === null ? [] : [{ vmid, lock, sinceMs }],
  );
  const pass = rememberPass(report, locks, before);
  // A pass over some guests says nothing of the others.
  if (options.vmids === null && isWorthWriting(before, pass))
    await memory
      .write(pass)
      .catch((error: unknown) => ports.log('the pass is not on record', { error: String(error) }));
  return report;
}

async function lookAndPlan(
  ports: ReconcilePorts,
  desired: Desired,
  before: LastPass | null,
  options: PassOptions,
): Promise<{ plan: Plan; actual: Actual; openJobs: ReadonlyMap<number, string> }> {
  const { pve, clock } = ports;
  const { limits, allowStops, allowMemoryBelowUse, stop } = options;
  const nowMs = clock.nowMs();
  const nothing: Actual = { node: pve.node, observedAtMs: nowMs, guests: new Map(), elsewhere: new Map() };
  // Before anything is listed: what changes later is newer than this list, and is read in the next pass.
  const hint = await ports.changes.begin();
  const unchanged = ({ vmid, fields }: DesiredGuest): boolean => hint.unchanged(vmid, JSON.stringify(fields));
  const look = { nowMs, reads: limits.configReads, lockedSinceMs: lockedSince(before), unchanged, signal: undefined };
  const actual = desired.guests.length === 0 ? nothing : await observe(pve, desired.guests, look);
  const none: ReadonlyMap<number, string> = new Map();
  const plan = { allowStops, allowMemoryBelowUse, openJobs: none, nowMs, stuckAfterMs: limits.stuckMs };
  const first = planGuests(desired, actual, plan);
  concludeHint(hint, desired, actual, first);
  // The journal of backups is read only where something is to be done.
  if (stop.aborted || first.guests.every(({ actions }) => actions.length === 0))
    return { plan: first, actual, openJobs: none };
  const openJobs = await ports.openJobs();
  return { plan: planGuests(desired, actual, { ...plan, openJobs }), actual, openJobs };
}

/** A guest that was read and found in sync, with nothing that waits for a restart, need not be read again until it changes. */
function concludeHint(hint: PassHint, { guests }: Desired, actual: Actual, plan: Plan): void {
  const planned = new Map(plan.guests.map((guest) => [guest.vmid, guest]));
  for (const { vmid, fields } of guests) {
    const found = actual.guests.get(vmid)?.config.kind;
    const guest = planned.get(vmid);
    const isSettled = guest?.standing === 'in_sync' && guest.awaitingRestart.length === 0;
    const outcome =
      isSettled && found === 'read' ? 'settled' : isSettled && found === 'unchanged' ? 'skipped' : 'unsettled';
    hint.conclude(vmid, JSON.stringify(fields), outcome);
  }
}

interface Acting {
  plan: Plan;
  desired: Desired;
  actual: Actual;
  openJobs: ReadonlyMap<number, string>;
  /** Guests with an entry that could not be resolved, and why. */
  open: ReadonlyMap<number, string>;
  before: LastPass | null;
  passId: string;
  deadlineMs: number;
}

async function act(ports: ReconcilePorts, acting: Acting, options: PassOptions): Promise<GuestReport[]> {
  const { plan, desired, open, before, passId, deadlineMs } = acting;
  const { limits, allowMemoryBelowUse, backoff, stop } = options;
  const declared = new Map(desired.guests.map((guest) => [guest.vmid, guest]));
  const enter = places(limits.mutations);
  const converge = {
    passId,
    limits,
    plan: { allowMemoryBelowUse },
    lockedSinceMs: lockedSince(before),
    waitUntilMs: deadlineMs,
    stop,
    enter,
  };
  const one = async (guest: GuestPlan): Promise<GuestReport> => {
    const work = workFor(guest, declared.get(guest.vmid), acting);
    if (work === null) return asItStands(guest);
    const unresolved = open.get(guest.vmid);
    if (unresolved !== undefined)
      return {
        ...asItStands(guest),
        outcome: 'deferred',
        reason: `an earlier action is not resolved: ${unresolved}`,
        hint: 'felhom-agent journal list',
      };
    const pause = backoff?.pauseOf(guest, ports.clock.monotonicMs()) ?? null;
    if (pause !== null) return { ...asItStands(guest), outcome: 'failed', ...pause };
    const report = await convergeGuest(ports, work, converge);
    backoff?.note(guest, report, ports.clock.monotonicMs());
    return report;
  };
  return await Promise.all(plan.guests.map(one));
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

function asItStands({ vmid, name, standing, reason, hint, awaitingRestart }: GuestPlan): GuestReport {
  const outcome = standing === 'drift' ? 'deferred' : standing;
  return { vmid, name, outcome, reason, hint, actions: [], awaiting_restart: awaitingRestart };
}
