import { isPveFault, PveError } from '@felhom/proxmox/errors.ts';
import type { GuestRef } from '@felhom/proxmox/guests.ts';
import { parseVmid } from '@felhom/proxmox/upid.ts';
import type { NewIntent } from './action-journal.ts';
import type { ActionOutcome } from './action-record.ts';
import { toRecorded } from './describe-action.ts';
import { followAction } from './follow-action.ts';
import type { Action } from './model.ts';
import type { ReconcileLimits, ReconcilePorts } from './ports.ts';
import { settleAction } from './settle-action.ts';
import { shutdownSeconds } from './shutdown-time.ts';
import { recentTasks, runningTask, tasksOf } from './task-of-guest.ts';

/*
 * One action, done once.
 *
 * Invariants
 * - The lane of the guest is held by whoever calls.
 * - Look, then the intent, durable, then the call; nothing is called without its intent. A call is never repeated.
 * - The call follows its intent at once, or is not made: "it never started" is counted from the intent on.
 * - A task that runs for the guest is waited for by others, never joined by us.
 * - What cannot be told stays open in the journal; nothing else is done to the guest until it is resolved.
 */

export interface Performed {
  /** Its entry in the journal; null where nothing was begun. */
  id: string | null;
  upid: string | null;
  outcome: ActionOutcome | null;
  reason: string | null;
  hint: string | null;
  /**
   * What the pass does next. `go-on`: it took effect. `look-again`: somebody else acted; observe and plan anew. `wait`:
   * a lock or another's task; later. `give-up`: it failed. `leave`: not known yet; it is resolved before anything else.
   */
  next: 'go-on' | 'look-again' | 'wait' | 'give-up' | 'leave';
}

export interface PerformOptions {
  /** Of this plan's action: the same key is never begun twice. */
  key: string;
  limits: ReconcileLimits;
  /** Its task is left to the journal then. A call that changes something is never cut off. */
  leaving: AbortSignal;
}

/** Of the 5 s by which `lost_start` (35 s) exceeds the 30 s after which PVE's proxy gives a call up. */
const longestToCallMs = 3_000;

export async function perform(ports: ReconcilePorts, action: Action, options: PerformOptions): Promise<Performed> {
  const { pve, journal } = ports;
  const nothing = { id: null, upid: null, outcome: null, hint: null };
  const signal = options.leaving;
  const call = await callOf(ports, action, options);
  const nodeSeconds = await pve.nodes.clockSeconds({ signal });
  const tasks = await tasksOf(pve, action.vmid, { signal });
  const busy = runningTask(tasks);
  if (busy !== null) return { ...nothing, reason: busy, next: 'wait' };
  const intent: NewIntent = {
    id: ports.newId(),
    key: options.key,
    node_seconds: nodeSeconds,
    node: pve.node,
    vmid: action.vmid,
    guest_kind: action.guestKind,
    action: toRecorded(action),
    by: 'reconcile',
    pid: ports.process.pid,
    boot_id: ports.process.bootId,
    known: recentTasks(tasks, nodeSeconds ?? 0).map(({ upid }) => upid),
  };
  const begun = await journal.begin(intent);
  if (begun.kind === 'open')
    return { ...nothing, reason: `an earlier action is not resolved yet (${begun.entry.intent.id})`, next: 'wait' };
  if (begun.kind === 'repeated') return { ...nothing, reason: 'it was begun before', next: 'look-again' };
  if (ports.process.upMs() - begun.bootMs > longestToCallMs)
    return await end(ports, {
      id: intent.id,
      upid: null,
      outcome: 'void',
      reason: 'the disk took too long: no call was made',
    });
  try {
    return await conclude(ports, intent, await call(), options);
  } catch (error) {
    if (!(error instanceof PveError)) throw error;
    return error.outcomeUnknown
      ? await resolveLost(ports, intent, error, options)
      : await refused(ports, intent.id, error);
  }
}

/**
 * The one call that changes something, ready to be made: what it takes is read before the intent. It answers the task
 * that it started, or null where it is done at once.
 */
async function callOf(
  { pve }: ReconcilePorts,
  action: Action,
  { limits: { shutdownMs }, leaving: signal }: PerformOptions,
): Promise<() => Promise<string | null>> {
  const ref: GuestRef = { vmid: parseVmid(action.vmid), kind: action.guestKind };
  if (action.kind === 'start') return async () => await pve.guests.start(ref);
  if (action.kind === 'shutdown') {
    const timeoutSeconds = await shutdownSeconds(pve, ref, { shutdownMs, signal });
    // Asked to end first, and ended hard by the same task: one task, whatever becomes of us meanwhile.
    return async () => await pve.guests.shutdown(ref, { timeoutSeconds, forceStop: true });
  }
  const recorded = toRecorded(action);
  return async () => {
    if (recorded.kind !== 'configure') return null;
    const { digest, set, remove } = recorded;
    await pve.guests.setConfig(ref, { digest, set, remove });
    return null;
  };
}

async function conclude(
  ports: ReconcilePorts,
  { id }: { id: string },
  upid: string | null,
  { limits, leaving }: PerformOptions,
): Promise<Performed> {
  const { journal } = ports;
  if (upid === null) return await end(ports, { id, upid, outcome: 'done', reason: null });
  // A disk that is full by now does not make the task another's: it is followed, and found again by the task list.
  await journal
    .started(id, upid)
    .catch((error: unknown) => ports.log('a task is not on record', { upid, error: String(error) }));
  const followed = await followAction(ports, upid, limits, leaving);
  if (followed.kind === 'left')
    return { id, upid, outcome: null, reason: `its task is under way: ${followed.why}`, hint: null, next: 'leave' };
  const { outcome, reason, locked } = followed;
  return await end(ports, { id, upid, outcome, reason }, locked);
}

/** PVE said no, so nothing was done: why tells what to do next. */
async function refused(ports: ReconcilePorts, id: string, error: PveError): Promise<Performed> {
  const { text: reason, hint } = error;
  if (isPveFault(error, 'locked', 'lock-timeout'))
    return await end(ports, { id, upid: null, outcome: 'void', reason }, true);
  if (isPveFault(error, 'stale-digest', 'already-running', 'not-running', 'not-found'))
    return await end(ports, { id, upid: null, outcome: 'superseded', reason });
  const outcome = isPveFault(error, 'transport', 'auth', 'tls-identity') ? 'void' : 'failed';
  return { ...(await end(ports, { id, upid: null, outcome, reason })), hint, next: 'give-up' };
}

async function resolveLost(
  ports: ReconcilePorts,
  intent: NewIntent,
  error: PveError,
  { limits, leaving }: PerformOptions,
): Promise<Performed> {
  const { id, vmid } = intent;
  ports.log('the answer to a call was lost', { vmid, action: id, error: error.message });
  const entry = (await ports.journal.entries()).find((each) => each.intent.id === id);
  if (entry === undefined) throw error;
  const deadlineMs = ports.clock.monotonicMs() + limits.lostStartMs + limits.taskWaitMs;
  const settled = await settleAction(ports, entry, limits, { deadlineMs, stop: leaving });
  if (settled.kind === 'open')
    return { id, upid: null, outcome: null, reason: `its answer was lost: ${settled.why}`, hint: null, next: 'leave' };
  const { upid, outcome, reason } = settled;
  return { id, upid, outcome, reason, hint: null, next: nextAfter(outcome, false) };
}

async function end(
  { journal }: ReconcilePorts,
  { id, upid, outcome, reason }: { id: string; upid: string | null; outcome: ActionOutcome; reason: string | null },
  locked = false,
): Promise<Performed> {
  await journal.ended(id, outcome, reason);
  return { id, upid, outcome, reason, hint: null, next: nextAfter(outcome, locked) };
}

function nextAfter(outcome: ActionOutcome, locked: boolean): Performed['next'] {
  if (locked) return 'wait';
  if (outcome === 'done') return 'go-on';
  return outcome === 'superseded' || outcome === 'void' ? 'look-again' : 'give-up';
}
