import type { PveClient } from '@felhom/proxmox/client.ts';
import type { GuestStatus } from '@felhom/proxmox/guests.ts';
import type { Actual, ActualGuest, Desired, ObservedConfig } from './model.ts';

/** Looks at the declared guests of the node: one list, and the configuration of each that has fields declared. */
export async function observe(pve: PveClient, desired: Desired, nowMs: number): Promise<Actual> {
  const declared = new Map(desired.guests.map((guest) => [guest.vmid, guest]));
  const guests = new Map<number, ActualGuest>();
  for (const status of await pve.guests.list()) {
    const want = declared.get(status.vmid);
    const asked = want !== undefined && Object.keys(want.fields).length > 0;
    const config: ObservedConfig = asked ? await readConfig(pve, status) : { kind: 'not-asked' };
    const haManaged = want?.state == null ? false : (await pve.guests.status(status)).haManaged;
    guests.set(status.vmid, { ...status, lockedSinceMs: null, haManaged, memoryUsedBytes: status.memoryBytes, config });
  }
  return { node: pve.node, observedAtMs: nowMs, guests, elsewhere: new Map() };
}

async function readConfig(pve: PveClient, guest: GuestStatus): Promise<ObservedConfig> {
  try {
    const pending = await pve.guests.config(guest);
    const live = await pve.guests.config(guest, { current: true });
    return { kind: 'read', digest: pending.digest, live: live.options, pending: pending.options };
  } catch (error) {
    return { kind: 'unreadable', why: error instanceof Error ? error.message : String(error) };
  }
}
