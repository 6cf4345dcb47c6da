import type { StateFile } from '@felhom/durable/state-file.ts';
import { type GuestsFile, readGuests } from '../serve/guests-state.ts';
import type { DesiredProvider } from './provider.ts';

/**
 * What is declared, with the guests that are on hold (`guest hold`) marked as left to a person. Read anew
 * in every pass: a hold counts from the moment at which the command ended.
 * The provider's `read` throws Failure `state_unreadable` or `state_newer` too: who is on hold must be known before anything is done.
 */
export function withHolds(provider: DesiredProvider, file: StateFile<GuestsFile>): DesiredProvider {
  return {
    read: async () => {
      const desired = await provider.read();
      const reasons = await readHolds(file);
      return {
        ...desired,
        guests: desired.guests.map((guest) => ({ ...guest, held: reasons.get(guest.vmid) ?? guest.held })),
      };
    },
  };
}

/** The guests on hold at this moment, and why. @throws Failure `state_unreadable`, `state_newer` */
export async function readHolds(file: StateFile<GuestsFile>): Promise<ReadonlyMap<number, string>> {
  const { guests } = await readGuests(file);
  return new Map(guests.flatMap(({ vmid, hold }) => (hold === null ? [] : [[vmid, hold.reason] as const])));
}
