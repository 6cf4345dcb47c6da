import { Interruption } from '@felhom/cli/signals.ts';
import { asFailure, Failure } from '@felhom/kernel/failure.ts';
import type { GuestStatus } from '@felhom/proxmox/guests.ts';
import { chooseGuests } from '../desired/choose.ts';
import { type Acted, type ActOptions, actOnPlan, asItStands } from './act-on-plan.ts';
import type { PassHint } from './change-hint.ts';
import { describeAction } from './describe-action.ts';
import { graceAfter } from './endings.ts';
import { isWorthWriting, type LastPass, lockedSince } from './last-pass.ts';
import type { Actual, Desired, DesiredGuest, Plan, PlanOptions } from './model.ts';
import { observe } from './observe.ts';
import { planGuests } from './plan.ts';
import type { ReconcilePorts } from './ports.ts';
import { type RecoverOptions, recoverActions } from './recover.ts';
import { makeReport, type PassReport, type RecoveredReport, rememberPass } from './report.ts';

/*
 * One pass: what is open is resolved, then observe, plan, act, observe again, guest by guest, side by side.
 *
 * Invariants
 * - Nothing is planned for a guest with an open entry: it is resolved first, or the guest is deferred.
 * - A plan that is refused is not done at all.
 * - Asked to end, it is brought to its end for `stop_grace`; then nothing more is begun, and tasks are left to the journal.
 */

export interface PassOptions extends Omit<ActOptions, 'leaving'>, Pick<PlanOptions, 'allowStops'> {
  /** Only these guests; null: all that are declared. */
  vmids: readonly number[] | null;
  /** How long locks, backups and tasks of others are waited out, milliseconds. */
  lockTimeoutMs: number;
}

/**
 * Throws PveError when the node cannot be asked at all, Failure `config_invalid` when what is declared cannot be
 * read at all, `unknown_guest` for one of `vmids` of which nothing is declared, and `terminated` or `interrupted` when
 * it was asked to end and the node had not told how its guests are within `stop_grace`. Nothing was changed then.
 */
export async function runPass(ports: ReconcilePorts, options: PassOptions): Promise<PassReport> {
  const grace = graceAfter(ports.clock, options.stop, options.limits.stopGraceMs);
  let settled: Promise<void> = Promise.resolve();
  try {
    const made = await makePass(ports, { ...options, leaving: grace.signal });
    settled = made.settled;
    return made.report;
  } finally {
    void settled.then(() => grace.dispose());
  }
}

type Passing = PassOptions & Pick<ActOptions, 'leaving'>;

async function makePass(
  ports: ReconcilePorts,
  options: Passing,
): Promise<{ report: PassReport; settled: Promise<void> }> {
  const { clock, memory } = ports;
  const passId = ports.newId();
  const startedMs = clock.nowMs();
  const deadlineMs = clock.monotonicMs() + options.lockTimeoutMs;
  const recovery = recoveryOf(ports, options, deadlineMs);
  const open = await recovery.begin();
  const before = await memory.read();
  const first = await beginLook(ports, before);
  const desired = chooseGuests(await ports.desired.read(), options.vmids ?? []);
  const { plan, actual, openJobs } = await lookAndPlan(ports, { ...first, desired, before }, options);
  const { resolve } = recovery;
  const acting = { plan, desired, actual, openJobs, open, resolve, before, passId, deadlineMs };
  const { guests, settled }: Acted =
    plan.refused === null
      ? await actOnPlan(ports, acting, options)
      : { guests: plan.guests.map(asItStands), settled: Promise.resolve() };
  const report = makeReport({
    pass_id: passId,
    node: ports.pve.node,
    startedMs,
    endedMs: clock.nowMs(),
    desired: { guests: desired.guests.length, version: desired.version },
    recovered: recovery.told(),
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
  return { report, settled };
}

/**
 * What earlier runs left open: one look at each entry before anything is planned. Those that this does not resolve are
 * looked at beside the pass, so that their guests hold up no other.
 */
function recoveryOf(ports: ReconcilePorts, options: Passing, deadlineMs: number) {
  const told = new Map<string, RecoveredReport>();
  const recover = async (more: Pick<RecoverOptions, 'deadlineMs' | 'concerns'>): Promise<RecoveredReport[]> => {
    const found = await recoverActions(ports, { limits: options.limits, stop: options.stop, ...more });
    for (const each of found) told.set(each.id, each);
    return found.filter(({ outcome }) => outcome === 'open');
  };
  const isWorking = options.beyond?.underWay.isWorking ?? (() => false);
  return {
    /** The guests with an entry that stays open, and why. */
    begin: async (): Promise<ReadonlyMap<number, string>> => {
      const open = await recover({ deadlineMs: ports.clock.monotonicMs(), concerns: (vmid) => !isWorking(vmid) });
      return new Map(open.map(({ vmid, reason }) => [vmid, reason ?? '']));
    },
    /** Never throws: it is one guest's work, and must neither end the pass of the others nor stay under way for ever. */
    resolve: async (vmid: number): Promise<string | null> => {
      try {
        const [open] = await recover({ deadlineMs, concerns: (each) => each === vmid });
        return open === undefined ? null : (open.reason ?? '');
      } catch (error) {
        return asFailure(error).message;
      }
    },
    told: () => [...told.values()],
  };
}

interface FirstLook {
  hint: PassHint;
  /** undefined: nobody has asked yet. */
  listing: Promise<GuestStatus[]> | undefined;
}

/** Where something was declared a pass ago the node is asked while the declaration is read: the one waits for the disk, the other for the node. */
async function beginLook({ pve, changes }: ReconcilePorts, before: LastPass | null): Promise<FirstLook> {
  // Before anything is listed: what changes later is newer than this list, and is read in the next pass.
  const hint = await changes.begin();
  const listing = before !== null && before.declared > 0 ? pve.guests.list() : undefined;
  // Whoever looks at it hears of its failure; where nothing is declared any more, nobody does.
  listing?.catch(() => undefined);
  return { hint, listing };
}

async function lookAndPlan(
  ports: ReconcilePorts,
  { desired, before, hint, listing }: FirstLook & { desired: Desired; before: LastPass | null },
  options: Passing,
): Promise<{ plan: Plan; actual: Actual; openJobs: ReadonlyMap<number, string> }> {
  const { pve, clock } = ports;
  const { limits, allowStops, allowMemoryBelowUse, stop, leaving } = options;
  const nowMs = clock.nowMs();
  const nothing: Actual = { node: pve.node, observedAtMs: nowMs, guests: new Map(), elsewhere: new Map() };
  const unchanged = ({ vmid, fields }: DesiredGuest): boolean => hint.unchanged(vmid, JSON.stringify(fields));
  const isEnding = (): boolean => leaving.aborted;
  const look = { nowMs, reads: limits.configReads, lockedSinceMs: lockedSince(before), unchanged, isEnding, listing };
  const actual = desired.guests.length === 0 ? nothing : await observe(pve, desired.guests, look);
  if (leaving.aborted) throw endedBeforePlan(stop);
  const none: ReadonlyMap<number, string> = new Map();
  const plan = { allowStops, allowMemoryBelowUse, openJobs: none, nowMs, stuckAfterMs: limits.stuckMs };
  const first = planGuests(desired, actual, plan);
  concludeHint(hint, desired, actual, first);
  // The journal of backups is read only where something is to be done.
  if (first.guests.every(({ actions }) => actions.length === 0)) return { plan: first, actual, openJobs: none };
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

function endedBeforePlan({ reason }: AbortSignal): Failure {
  return new Failure(reason instanceof Interruption && reason.signal === 'SIGTERM' ? 'terminated' : 'interrupted', {
    message: 'the pass was asked to end before Proxmox VE had told how its guests are; no guest was changed',
    hint: 'The next pass looks anew: felhom-agent reconcile --once',
  });
}
