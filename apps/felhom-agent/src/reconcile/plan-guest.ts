import { formatElapsed } from '@felhom/cli/quantity.ts';
import type { Action, Actual, ActualGuest, DesiredGuest, GuestPlan, PlanOptions } from './model.ts';
import { type FieldsPlan, type LeftOut, planFields } from './plan-fields.ts';

/** The plan of one declared guest. Pure and total: whatever was observed, it has a standing and a reason. */
export function planGuest(desired: DesiredGuest, actual: Actual, options: PlanOptions): GuestPlan {
  const guest = actual.guests.get(desired.vmid);
  if (guest === undefined) return missing(desired, actual);
  const at = { vmid: desired.vmid, name: guest.name, guestKind: guest.kind };
  if (desired.held !== null) {
    const hint = `felhom-agent guest release ${desired.vmid}, or take held out of ${desired.source}`;
    return { ...at, standing: 'held', reason: desired.held, hint, actions: [], awaitingRestart: [] };
  }
  const fields = fieldsOf(desired, guest, options);
  const power = powerOf(desired, guest);
  const leftOut = [...fields.leftOut, ...power.leftOut];
  const actions = [...configure(guest, fields), ...power.actions];
  const wait = actions.length === 0 ? null : waitFor(guest, options);
  const { awaitingRestart } = fields;
  if (wait !== null) return { ...at, ...told('deferred', [wait, ...leftOut]), actions: [], awaitingRestart };
  if (actions.length > 0) return { ...at, ...told('drift', [...leftOut, ...power.notes]), actions, awaitingRestart };
  const standing = leftOut.some((each) => each.standing === 'failed')
    ? 'failed'
    : leftOut.length > 0
      ? 'deferred'
      : 'in_sync';
  return { ...at, ...told(standing, [...leftOut, ...power.notes]), actions, awaitingRestart };
}

/** Whether the guest is to be stopped, though that may have to wait for a lock or a backup. */
export function isToStop(desired: DesiredGuest, actual: Actual): boolean {
  const guest = actual.guests.get(desired.vmid);
  if (guest === undefined || desired.held !== null) return false;
  return powerOf(desired, guest).actions.some((action) => action.kind === 'shutdown');
}

function told(
  standing: GuestPlan['standing'],
  notes: readonly { reason: string; hint: string | null }[],
): Pick<GuestPlan, 'standing' | 'reason' | 'hint'> {
  return {
    standing,
    reason: notes.length === 0 ? null : notes.map((note) => note.reason).join('; '),
    hint: notes.find((note) => note.hint !== null)?.hint ?? null,
  };
}

function missing({ vmid }: DesiredGuest, { elsewhere }: Actual): GuestPlan {
  const at = { vmid, name: null, guestKind: null, actions: [], awaitingRestart: [] };
  const node = elsewhere.get(vmid);
  if (node !== undefined)
    return { ...at, standing: 'elsewhere', reason: `it is on node ${node}, whose agent looks after it`, hint: null };
  return {
    ...at,
    standing: 'absent',
    // A guest that the token may not see is not listed either.
    reason: 'Proxmox VE shows this token no such guest; creating one is left to you',
    hint: `Create or restore guest ${vmid}, or remove its file. If it is there: the token needs VM.Audit on /vms/${vmid}.`,
  };
}

function fieldsOf(desired: DesiredGuest, guest: ActualGuest, options: PlanOptions): FieldsPlan {
  const nothing = { changes: [], awaitingRestart: [], leftOut: [] };
  const { config } = guest;
  if (Object.keys(desired.fields).length === 0 || config.kind === 'unchanged') return nothing;
  if (config.kind === 'read') return planFields(desired, guest, config, options.allowMemoryBelowUse);
  const why = config.kind === 'unreadable' ? config.why : 'it was not asked for';
  const reason = `its configuration cannot be read, so only its run state is looked after: ${why}`;
  return { ...nothing, leftOut: [{ standing: 'failed', reason, hint: showConfig(guest) }] };
}

function showConfig({ vmid, kind }: ActualGuest): string {
  return `Look at it on the node: ${kind === 'lxc' ? 'pct' : 'qm'} config ${vmid}`;
}

function configure({ vmid, kind, config }: ActualGuest, { changes }: FieldsPlan): Action[] {
  if (changes.length === 0 || config.kind !== 'read') return [];
  return [{ kind: 'configure', vmid, guestKind: kind, digest: config.digest, changes }];
}

interface PowerPlan {
  actions: readonly Action[];
  leftOut: readonly LeftOut[];
  /** Worth saying, and nothing that is amiss. */
  notes: readonly { reason: string; hint: null }[];
}

function powerOf(
  { state, source }: DesiredGuest,
  { vmid, kind, running, haManaged, template }: ActualGuest,
): PowerPlan {
  const nothing: PowerPlan = { actions: [], leftOut: [], notes: [] };
  if (state === null || (state === 'running') === running) return nothing;
  if (haManaged)
    return { ...nothing, notes: [{ reason: 'its run state is left to the HA manager of the cluster', hint: null }] };
  if (template) {
    const hint = `Take desired.state out of ${source}.`;
    return { ...nothing, leftOut: [{ standing: 'failed', reason: 'it is a template and cannot run', hint }] };
  }
  return { ...nothing, actions: [{ kind: state === 'running' ? 'start' : 'shutdown', vmid, guestKind: kind }] };
}

/** What stands in the way of any action on the guest; null when nothing does. */
function waitFor(guest: ActualGuest, options: PlanOptions): LeftOut | null {
  const job = options.openJobs.get(guest.vmid);
  if (job !== undefined) return { standing: 'deferred', reason: `its backup is under way (job ${job})`, hint: null };
  if (guest.lock === null) return null;
  const ageMs = guest.lockedSinceMs === null ? null : Math.max(0, options.nowMs - guest.lockedSinceMs);
  const since = ageMs === null || ageMs < 1_000 ? '' : `, for ${formatElapsed(ageMs)} now`;
  if (ageMs === null || ageMs < options.stuckAfterMs)
    return { standing: 'deferred', reason: `PVE has locked it (${guest.lock})${since}`, hint: null };
  const program = guest.kind === 'lxc' ? 'pct' : 'qm';
  return {
    standing: 'deferred',
    reason: `stuck: PVE has locked it (${guest.lock})${since}`,
    hint: `If no task works on it any more, on the node: ${program} unlock ${guest.vmid}`,
  };
}
