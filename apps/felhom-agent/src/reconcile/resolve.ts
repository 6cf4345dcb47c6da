import { isPveFault, PveError } from '@felhom/proxmox/errors.ts';
import type { GuestPending, GuestRef } from '@felhom/proxmox/guests.ts';
import type { TaskListItem } from '@felhom/proxmox/tasks.ts';
import { isUpid, parseVmid } from '@felhom/proxmox/upid.ts';
import type { ActionEntry, ActionOutcome, Intent, RecordedAction } from './action-record.ts';
import { managedFields, readField } from './fields.ts';
import { judgeEnd } from './follow-action.ts';
import type { ReconcileNode } from './ports.ts';
import { recentTasks, runningTask, tasksOf } from './task-of-guest.ts';

/*
 * What became of an action whose answer nobody has: its call was lost, or its process died.
 *
 * Invariants
 * - Nothing is done here: it looks. Whoever calls holds the lane of the guest, so that no process of ours posts meanwhile.
 * - A task is taken for ours only if it is of our token, of the right kind, of this guest, was not there just before our
 *   call, and is the only such one. Everything else is somebody else's: waited for, and judged by the guest alone.
 * - "It never started" is concluded by a look that began `lostStartMs` after the intent: PVE's proxy gives up after 30 s.
 */

export type Resolution =
  | { kind: 'ended'; outcome: ActionOutcome; reason: string | null; upid: string | null }
  | { kind: 'undecided'; why: string };

export interface ResolveOptions {
  /** How long ago the intent was recorded, when this look begins. */
  ageMs: number;
  lostStartMs: number;
  signal?: AbortSignal | undefined;
}

/** One look. Never throws for what PVE says: that is undecided. A refused token is thrown. */
export async function resolveAction(
  pve: ReconcileNode,
  entry: ActionEntry,
  options: ResolveOptions,
): Promise<Resolution> {
  try {
    if (entry.upid !== null) return await byTask(pve, entry.upid, options);
    const { action } = entry.intent;
    if (action.kind === 'configure') return await byConfiguration(pve, entry.intent, action, options);
    return await byTaskList(pve, entry.intent, options);
  } catch (error) {
    if (!(error instanceof PveError) || ['auth', 'tls-identity', 'permission'].includes(error.fault.kind)) throw error;
    return { kind: 'undecided', why: error.message };
  }
}

async function byTask(pve: ReconcileNode, upid: string, { signal }: ResolveOptions): Promise<Resolution> {
  if (!isUpid(upid)) return { kind: 'ended', outcome: 'failed', reason: `${upid} is no task`, upid };
  try {
    const { end, type } = await pve.tasks.status(upid, { signal });
    if (end === null) return { kind: 'undecided', why: `its task still runs (${type})` };
    const { outcome, reason } = judgeEnd(end);
    return { kind: 'ended', outcome, reason, upid };
  } catch (error) {
    if (!isPveFault(error, 'not-found')) throw error;
    // Logs of tasks are kept for long; a node that was installed anew has none.
    return { kind: 'ended', outcome: 'failed', reason: 'Proxmox VE does not know its task any more', upid };
  }
}

async function byTaskList(pve: ReconcileNode, intent: Intent, options: ResolveOptions): Promise<Resolution> {
  const since = nodeSecondsOf(intent);
  const tasks = await tasksOf(pve, intent.vmid, { sinceSeconds: since, signal: options.signal });
  const candidates = recentTasks(tasks, since).filter((task) => mayBeOurs(pve, intent, task));
  const [own] = candidates;
  if (own !== undefined && candidates.length === 1) return await byTask(pve, own.upid, options);
  const busy = runningTask(tasks);
  if (busy !== null) return { kind: 'undecided', why: busy };
  if (own !== undefined)
    return {
      kind: 'ended',
      outcome: 'void',
      reason: `${candidates.length} tasks could be ours; none is taken for it`,
      upid: null,
    };
  if (options.ageMs < options.lostStartMs) return { kind: 'undecided', why: 'its call may still become a task' };
  return { kind: 'ended', outcome: 'void', reason: 'its call never became a task', upid: null };
}

function mayBeOurs(pve: ReconcileNode, { known, action, guest_kind: kind }: Intent, task: TaskListItem): boolean {
  const type = `${kind === 'qemu' ? 'qm' : 'vz'}${action.kind}`;
  return task.type === type && task.user === pve.user && !known.includes(task.upid);
}

/** The node's clock at the intent. Without it ours, with room for the two to differ. */
function nodeSecondsOf({ node_seconds: seconds, at }: Intent): number {
  return seconds ?? Math.floor(Date.parse(at) / 1_000) - 60;
}

async function byConfiguration(
  pve: ReconcileNode,
  intent: Intent,
  action: Extract<RecordedAction, { kind: 'configure' }>,
  { ageMs, lostStartMs, signal }: ResolveOptions,
): Promise<Resolution> {
  const ref: GuestRef = { vmid: parseVmid(intent.vmid), kind: intent.guest_kind ?? 'lxc' };
  const ended = (outcome: ActionOutcome, reason: string): Resolution => ({
    kind: 'ended',
    outcome,
    reason,
    upid: null,
  });
  let now: GuestPending;
  try {
    now = await pve.guests.pending(ref, { signal });
  } catch (error) {
    if (!isPveFault(error, 'not-found')) throw error;
    return ended('superseded', 'the guest is not on this node any more');
  }
  if (now.digest !== action.digest && holds(now, action))
    return ended('done', 'its values were found in the configuration');
  // Not only while the digest is the same: a lock that comes and goes changes it and brings it back.
  if (ageMs < lostStartMs) return { kind: 'undecided', why: 'its call may still take effect' };
  if (now.digest === action.digest) return ended('void', 'its call never took effect');
  return ended('superseded', 'the configuration was changed by somebody else');
}

function holds(
  { kind, pending }: GuestPending,
  { set, remove }: Extract<RecordedAction, { kind: 'configure' }>,
): boolean {
  const isSame = ([option, value]: [string, string | number]): boolean => {
    const field = managedFields.find((each) => each.option[kind] === option);
    if (field === undefined) return pending[option] === String(value);
    return readField(field, kind, pending) === field.canonical(kind, String(value));
  };
  return Object.entries(set).every(isSame) && remove.every((option) => pending[option] === undefined);
}
