import { asFailure } from '@felhom/kernel/failure.ts';
import type { ActionEntry } from './action-record.ts';
import { describeRecorded } from './describe-action.ts';
import { inParallel } from './in-parallel.ts';
import type { ReconcileLimits, ReconcilePorts } from './ports.ts';
import type { RecoveredReport } from './report.ts';
import { settleAction } from './settle-action.ts';

export interface RecoverOptions {
  limits: ReconcileLimits;
  /** Until when (monotonic) it is looked again and again. */
  deadlineMs: number;
  stop: AbortSignal;
  /** Whose entries; all where it is left out. Those of a guest at which this process is at work are in its hands. */
  concerns?: ((vmid: number) => boolean) | undefined;
}

/**
 * Resolves every open entry of reconcile by looking at the node; does nothing to any guest. An entry whose guest's lane
 * is held belongs to a process that lives. Twice equals once. Never throws for one entry: what cannot be resolved is
 * told as `open`, with why.
 */
export async function recoverActions(ports: ReconcilePorts, options: RecoverOptions): Promise<RecoveredReport[]> {
  const { concerns = () => true } = options;
  const entries = await ports.journal.entries();
  const open = entries.filter(({ intent, end }) => end === null && concerns(intent.vmid));
  return await inParallel(open, options.limits.mutations, async (entry) => await recoverOne(ports, entry, options));
}

async function recoverOne(
  ports: ReconcilePorts,
  entry: ActionEntry,
  options: RecoverOptions,
): Promise<RecoveredReport> {
  const { id, vmid, action } = entry.intent;
  const told = (outcome: RecoveredReport['outcome'], reason: string | null): RecoveredReport => ({
    id,
    vmid,
    action: describeRecorded(action),
    outcome,
    reason,
  });
  const lane = await ports.lanes.tryGuest(vmid);
  if (lane === null)
    return told('held', `its guest is being worked on (${(await ports.lanes.guestHolder(vmid)) ?? 'done by now'})`);
  try {
    const now = (await ports.journal.entries()).find((each) => each.intent.id === id);
    if (now === undefined) return told('done', 'it was resolved meanwhile');
    if (now.end !== null) return told(now.end.outcome, now.end.reason);
    const settled = await settleAction(ports, now, options.limits, options);
    return settled.kind === 'open' ? told('open', settled.why) : told(settled.outcome, settled.reason);
  } catch (error) {
    return told('open', asFailure(error).message);
  } finally {
    await lane.release();
  }
}
