import type { Actual, Desired, DesiredProblem, GuestPlan, Plan, PlanOptions, Refusal } from './model.ts';
import { isToStop, planGuest } from './plan-guest.ts';

/** A plan may always stop one guest, and this share of the declared ones. */
const freeStops = 1;
const freeShare = 0.25;

/**
 * What is to be done so that the guests of this node are as declared. Pure and total; planning on the
 * plan's own result gives an empty plan. Guests stand in the order of their numbers. A guest whose
 * declaration has a mistake is left alone, and the others are not kept from anything by it.
 */
export function planGuests(desired: Desired, actual: Actual, options: PlanOptions): Plan {
  const broken = new Map<number, DesiredProblem[]>();
  for (const problem of desired.problems)
    if (problem.vmid !== null) broken.set(problem.vmid, [...(broken.get(problem.vmid) ?? []), problem]);
  const sound = desired.guests.filter((guest) => !broken.has(guest.vmid));
  const guests = [
    ...sound.map((guest) => planGuest(guest, actual, options)),
    ...[...broken].map(([vmid, problems]) => brokenGuest(vmid, problems, actual)),
  ].toSorted((left, right) => left.vmid - right.vmid);
  const stops = sound
    .filter((guest) => isToStop(guest, actual))
    .map(({ vmid }) => vmid)
    .toSorted((left, right) => left - right);
  return {
    node: actual.node,
    observedAtMs: actual.observedAtMs,
    guests,
    stops,
    problems: desired.problems.filter((problem) => problem.vmid === null),
    refused: blastRadius(guests, stops, options.allowStops),
  };
}

function brokenGuest(vmid: number, problems: readonly DesiredProblem[], { guests }: Actual): GuestPlan {
  const found = guests.get(vmid);
  return {
    vmid,
    name: found?.name ?? null,
    guestKind: found?.kind ?? null,
    standing: 'failed',
    reason: problems.map((problem) => problem.message).join('; '),
    hint: 'Correct it: nothing is done to this guest until then. felhom-agent config check reads the files again.',
    actions: [],
    awaitingRestart: [],
  };
}

/**
 * More than one guest stopped, and more than a quarter of those declared and here: that looks like a mistake in the
 * declaration. Stops that must wait count: a pass does them as soon as it can, one after another.
 */
function blastRadius(
  guests: readonly GuestPlan[],
  wouldStop: readonly number[],
  allowStops: number | null,
): Refusal | null {
  const here = guests.filter((guest) => guest.guestKind !== null).length;
  if (wouldStop.length <= freeStops || wouldStop.length <= here * freeShare) return null;
  if (allowStops !== null && wouldStop.length <= allowStops) return null;
  return {
    reason: `the plan would stop ${wouldStop.length} of ${here} declared guests (${wouldStop.join(', ')}); nothing of it is done`,
    wouldStop,
    hint: `If that is meant: --allow-stops ${wouldStop.length}`,
  };
}
