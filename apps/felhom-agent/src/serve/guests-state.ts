import type { StateFile } from '@felhom/durable/state-file.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import type { KnownToken } from './auth.ts';
import { adoptRestored, raiseGeneration, unknownIdentity } from './identity.ts';

/**
 * What is known of each guest besides its policy: the hash of its token, and what tells it from its
 * copies. One writer: `serve`, or a command that holds serve's lock. In memory a change counts at
 * once; on disk it follows, in order.
 */
const identitySchema = z.object({
  generation: z.number().int(),
  offered: z.number().int().nullable(),
  bootId: z.string().nullable(),
  earlierBootIds: z.array(z.string()),
  refused: z
    .object({
      reason: z.enum(['restored_copy', 'identity_conflict']),
      generation: z.number().int(),
      bootId: z.string(),
      at: z.string(),
    })
    .nullable(),
  adopting: z.object({ generation: z.number().int(), bootId: z.string() }).nullable(),
});

const guestEntry = z.object({
  vmid: z.number().int(),
  token_sha256: z.string().nullable(),
  identity: identitySchema,
  /** A person keeps it (`guest hold`): neither reconciled nor backed up on a schedule nor started. */
  hold: z.object({ reason: z.string(), at: z.string() }).nullable().default(null),
  /** The newest backup by somebody else that was seen: it raised the generation. */
  foreign_seconds: z.number().int().nullable(),
});
export type GuestEntry = z.infer<typeof guestEntry>;

export const guestsSchema = z.object({ guests: z.array(guestEntry) });
export type GuestsFile = z.infer<typeof guestsSchema>;
export const guestsVersion = 1;

export interface GuestsState {
  entry(vmid: number): GuestEntry;
  all(): readonly GuestEntry[];
  tokens(): KnownToken[];
  /** In force at once; resolves when it is on disk. @throws Failure `state_unwritable` */
  set(vmid: number, change: Partial<Omit<GuestEntry, 'vmid'>>): Promise<void>;
  /** A snapshot of the guest was seen. */
  raise(vmid: number): Promise<void>;
}

/** @throws Failure `state_unreadable` or `state_newer`: without it no token can be told from another. */
export async function openGuestsState(
  file: StateFile<GuestsFile>,
  fromPolicies: () => readonly KnownToken[],
): Promise<GuestsState> {
  const entries = new Map((await readGuests(file)).guests.map((entry) => [entry.vmid, entry]));
  let writing: Promise<void> = Promise.resolve();
  const entryOf = (vmid: number): GuestEntry =>
    entries.get(vmid) ?? { vmid, token_sha256: null, identity: unknownIdentity, hold: null, foreign_seconds: null };
  const write = async (): Promise<void> => {
    const mine = writing.catch(() => undefined).then(async () => await file.write({ guests: [...entries.values()] }));
    writing = mine;
    await mine;
  };
  const set: GuestsState['set'] = async (vmid, change) => {
    entries.set(vmid, { ...entryOf(vmid), ...change });
    await write();
  };
  return {
    entry: entryOf,
    all: () => [...entries.values()],
    tokens: () => {
      const own = [...entries.values()].flatMap(({ vmid, token_sha256: sha256 }) =>
        sha256 === null ? [] : [{ vmid, sha256 }],
      );
      // A token made here goes before the one in guests.d: else the one that it replaced would still count.
      return [...own, ...fromPolicies().filter(({ vmid }) => !own.some((each) => each.vmid === vmid))];
    },
    set,
    raise: async (vmid) => await set(vmid, { identity: raiseGeneration(entryOf(vmid).identity) }),
  };
}

/** The file's content; an absent file is an empty one. */
export async function readGuests(file: StateFile<GuestsFile>): Promise<GuestsFile> {
  const read = await file.read();
  if (read.kind === 'present') return read.value;
  if (read.kind === 'absent') return { guests: [] };
  if (read.kind === 'newer') {
    throw new Failure('state_newer', {
      message: `the agent's list of guests was written by a newer version (${read.version}); guests keep running, nothing was started`,
      hint: 'Install that version of felhom-agent again.',
    });
  }
  throw new Failure('state_unreadable', {
    message: `the agent's list of guests cannot be read: ${read.reason}; guests keep running, nothing was started`,
    hint: 'Restore guests.json of the state folder from a backup of the host, or remove it and give every guest a new token: felhom-agent guest adopt VMID --token-out FILE',
  });
}

/**
 * Lets a guest in that a signed operation put back to an earlier time. Answers what a person has to do where a copy
 * of it is calling, else null. Twice is fine.
 */
export function adoptionIn(guests: Pick<GuestsState, 'all' | 'set'>): { adopt(vmid: number): Promise<string | null> } {
  return {
    adopt: async (vmid) => {
      const known = guests.all().find((guest) => guest.vmid === vmid);
      if (known === undefined) return null; // Nobody has called for it yet, so there is nothing to forget.
      const identity = adoptRestored(known.identity);
      if (identity === null)
        return `a copy of guest ${vmid} is calling; say which one is the guest: felhom-agent guest adopt ${vmid}`;
      await guests.set(vmid, { identity });
      return null;
    },
  };
}
