import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { GuestSpec } from '../options.ts';
import { isMissing, readJson, withFileLock, writeJson } from '../state/files.ts';
import { type GuestRecord, guestRecord, newGuest } from './guest-record.ts';

/** The guests of the node, one file each, shared by the simulator and its workers. */
export interface GuestStore {
  list(): GuestRecord[];
  get(vmid: number): GuestRecord | null;
  /** Changes a guest alone among all processes; what `change` throws leaves it as it was. */
  update<T>(vmid: number, change: (guest: GuestRecord) => T): T;
  create(guest: GuestRecord): void;
  remove(vmid: number): void;
}

export function openGuests(state: string): GuestStore {
  const folder = join(state, 'guests');
  const fileOf = (vmid: number): string => join(folder, `${vmid}.json`);
  const lockOf = (vmid: number): string => join(state, 'locks', `guest-${vmid}`);
  const get = (vmid: number): GuestRecord | null => readJson(fileOf(vmid), guestRecord);
  return {
    get,
    list: () => listVmids(folder).flatMap((vmid) => get(vmid) ?? []),
    update: (vmid, change) =>
      withFileLock(lockOf(vmid), () => {
        const guest = get(vmid);
        if (guest === null) throw new Error(`guest ${vmid} is gone`);
        const result = change(guest);
        writeJson(fileOf(vmid), guest);
        return result;
      }),
    create: (guest) => withFileLock(lockOf(guest.vmid), () => writeJson(fileOf(guest.vmid), guest)),
    remove: (vmid) => withFileLock(lockOf(vmid), () => rmSync(fileOf(vmid), { force: true })),
  };
}

/** Makes the guests named at start known. Those that the state folder knows keep their state; folder and commands follow the flags. */
export function adoptGuests(guests: GuestStore, specs: readonly GuestSpec[]): void {
  for (const spec of specs) {
    if (spec.absent === true) continue;
    if (guests.get(spec.vmid) === null) guests.create(newGuest(spec));
    else
      guests.update(spec.vmid, (guest) => {
        guest.dir = spec.dir;
        guest.commands = spec.commands ?? {};
      });
  }
}

function listVmids(folder: string): number[] {
  try {
    return readdirSync(folder)
      .flatMap((name) => (/^\d+\.json$/.test(name) ? Number.parseInt(name, 10) : []))
      .toSorted((a, b) => a - b);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
