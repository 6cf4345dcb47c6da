import { z } from 'zod';

export const guestOutcome = z.enum(['in_sync', 'applied', 'failed', 'deferred', 'held', 'absent', 'elsewhere']);
export type GuestOutcome = z.infer<typeof guestOutcome>;

/** What is remembered of the newest pass (`reconcile.json`). */
export const lastPassSchema = z.object({
  pass_id: z.string(),
  started_at: z.iso.datetime(),
  ended_at: z.iso.datetime(),
  outcome: z.enum(['in_sync', 'applied', 'incomplete', 'failed', 'refused']),
  declared: z.number().int(),
  /** Guests that are not as declared, and since when. */
  guests: z.array(
    z.object({
      vmid: z.number().int(),
      outcome: guestOutcome,
      reason: z.string().nullable(),
      hint: z.string().nullable(),
      since: z.iso.datetime(),
    }),
  ),
  /** PVE's locks on declared guests, and since when they are known. */
  locks: z.array(z.object({ vmid: z.number().int(), lock: z.string(), since: z.iso.datetime() })),
});
export type LastPass = z.infer<typeof lastPassSchema>;
export const lastPassVersion = 1;

/** Since when a lock is known: from the pass before, where it was the same one. */
export function lockedSince(before: LastPass | null): (vmid: number, lock: string) => number | null {
  return (vmid, lock) => {
    const known = before?.locks.find((each) => each.vmid === vmid && each.lock === lock);
    return known === undefined ? null : Date.parse(known.since);
  };
}

/** A record that says the same but for its times is written anew only when it is older than this. */
const freshMs = 60_000;

/** Whether `now` is worth a write: a pass every 30 s that finds all well need not wear out a disk. Pure. */
export function isWorthWriting(before: LastPass | null, now: LastPass): boolean {
  if (before === null || Date.parse(now.ended_at) - Date.parse(before.ended_at) >= freshMs) return true;
  const lasting = ({ outcome, declared, guests, locks }: LastPass): string =>
    JSON.stringify([outcome, declared, guests, locks]);
  return lasting(now) !== lasting(before);
}
