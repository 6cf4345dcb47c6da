import type { ActionEntry, Intent } from './action-record.ts';
import type { ProcessFacts, ReconcileLimits, ReconcilePorts } from './ports.ts';
import { type Resolution, resolveAction } from './resolve.ts';

export type Settled = Extract<Resolution, { kind: 'ended' }> | { kind: 'open'; why: string };

/**
 * Looks until it is known what became of an open entry, and records that. Ends with `open` at the deadline (monotonic)
 * or when `stop` aborts: then the entry stays, and nothing else is done to its guest. The lane of the guest is held by
 * whoever calls. Throws PveError for a refused token.
 */
export async function settleAction(
  { pve, journal, clock, process, log }: Pick<ReconcilePorts, 'pve' | 'journal' | 'clock' | 'process' | 'log'>,
  entry: ActionEntry,
  limits: Pick<ReconcileLimits, 'lostStartMs' | 'lockPollMs'>,
  { deadlineMs, stop }: { deadlineMs: number; stop: AbortSignal },
): Promise<Settled> {
  const { id, vmid } = entry.intent;
  let upid = entry.upid;
  for (;;) {
    const ageMs = ageOf(entry.intent, process);
    const look = await resolveAction(
      pve,
      { ...entry, upid },
      { ageMs, lostStartMs: limits.lostStartMs, signal: stop.aborted ? undefined : stop },
    );
    if (look.kind === 'ended') {
      if (upid === null && look.upid !== null) {
        upid = look.upid;
        await journal.started(id, upid);
      }
      await journal.ended(id, look.outcome, look.reason);
      log('an action that was left open is resolved', { vmid, action: id, outcome: look.outcome, reason: look.reason });
      return look;
    }
    if (stop.aborted || clock.monotonicMs() >= deadlineMs) return { kind: 'open', why: look.why };
    await clock.sleep(limits.lockPollMs, stop);
  }
}

/** A call does not outlive the boot that it was made in: what has not become a task by then never will. */
function ageOf(intent: Intent, { bootId, upMs }: ProcessFacts): number {
  return intent.boot_id === bootId ? upMs() - intent.boot_ms : Number.POSITIVE_INFINITY;
}
