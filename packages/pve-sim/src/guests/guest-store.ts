import { readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { GuestSpec } from '../options.ts';
import { cachedJson, isMissing, readJson, withFileLock, writeJson } from '../state/files.ts';
import { digestOf } from './guest-config.ts';
import { type GuestRecord, guestRecord, newGuest } from './guest-record.ts';

/** The guests of the node, one file each, shared by the simulator and its workers. */
export interface GuestStore {
  list(): GuestRecord[];
  get(vmid: number): GuestRecord | null;
  /** Changes a guest alone among all processes; what `change` throws leaves it as it was. */
  update<T>(vmid: number, change: (guest: GuestRecord) => T): T;
  create(guest: GuestRecord): void;
  remove(vmid: number): void;
  /** To another node of the cluster: at every moment it is on exactly one. */
  moveTo(place: GuestPlace, vmid: number): void;
}

/** Where a node keeps its guests, and who wants to hear of their configurations. */
export interface GuestPlace {
  folder: string;
  /** Shared by all nodes of a cluster. */
  locks: string;
  /** After a configuration was written, also for the first time. Whether a guest runs is no part of it. */
  written?: (guest: GuestRecord) => void;
  removed?: (vmid: number) => void;
}

export function openGuests({ folder, locks, written, removed }: GuestPlace): GuestStore {
  const fileOf = (vmid: number): string => join(folder, `${vmid}.json`);
  const alone = <T>(vmid: number, body: () => T): T => withFileLock(join(locks, `guest-${vmid}`), body);
  const read = cachedJson(guestRecord);
  const get = (vmid: number): GuestRecord | null => read(fileOf(vmid));
  return {
    get,
    list: () => listVmids(folder).flatMap((vmid) => get(vmid) ?? []),
    update: (vmid, change) =>
      alone(vmid, () => {
        // Read anew: what `change` does to it must not show before it is written.
        const guest = readJson(fileOf(vmid), guestRecord);
        if (guest === null) throw new Error(`guest ${vmid} is gone`);
        const before = written === undefined ? '' : digestOf(guest);
        const result = change(guest);
        writeJson(fileOf(vmid), guest);
        if (written !== undefined && digestOf(guest) !== before) written(guest);
        return result;
      }),
    create: (guest) =>
      alone(guest.vmid, () => {
        writeJson(fileOf(guest.vmid), guest);
        written?.(guest);
      }),
    remove: (vmid) =>
      alone(vmid, () => {
        rmSync(fileOf(vmid), { force: true });
        removed?.(vmid);
      }),
    moveTo: (place, vmid) =>
      alone(vmid, () => {
        const guest = get(vmid);
        if (guest === null) throw new Error(`guest ${vmid} is gone`);
        renameSync(fileOf(vmid), join(place.folder, `${vmid}.json`));
        place.written?.(guest);
      }),
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
