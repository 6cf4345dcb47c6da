import type { PveClient } from '@felhom/proxmox/client.ts';
import type { GuestRef } from '@felhom/proxmox/guests.ts';
import { guestFileSchema } from 'felhom-agent/config.ts';
import { toDesired } from 'felhom-agent/desired/guest-documents.ts';
import type { Actual, Desired, FieldChange, GuestPlan } from 'felhom-agent/reconcile/model.ts';
import { planGuests } from 'felhom-agent/reconcile/plan.ts';
import type { DeclaredFields } from './arbitrary-fields.ts';

/** What is declared of a guest when its file has these fields. */
export function declaring({ vmid }: GuestRef, desired: DeclaredFields): Desired {
  const guest = guestFileSchema.parse({ vmid, desired });
  return toDesired({ guests: [{ source: `${vmid}.yaml`, guest }], problems: [] }, null);
}

/** The plan for one guest, from a fresh look at it. */
export async function planOf(pve: PveClient, guest: GuestRef, desired: DeclaredFields): Promise<GuestPlan> {
  const actual = await look(pve, guest);
  const options = {
    allowStops: null,
    allowMemoryBelowUse: false,
    openJobs: new Map<number, string>(),
    stuckAfterMs: 3_600_000,
  };
  const [plan] = planGuests(declaring(guest, desired), actual, { ...options, nowMs: actual.observedAtMs }).guests;
  if (plan === undefined) throw new Error(`guest ${guest.vmid} is not in its own plan`);
  return plan;
}

async function look(pve: PveClient, guest: GuestRef): Promise<Actual> {
  const status = await pve.guests.status(guest);
  const [next, now] = [await pve.guests.config(guest), await pve.guests.config(guest, { current: true })];
  const config = { kind: 'read', digest: next.digest, live: now.options, pending: next.options } as const;
  const found = { ...status, lockedSinceMs: null, memoryUsedBytes: status.memoryBytes, config };
  return {
    node: pve.node,
    observedAtMs: Date.now(),
    guests: new Map([[Number(guest.vmid), found]]),
    elsewhere: new Map(),
  };
}

/** Writes the changes of a plan, and nothing else. */
export async function applyFields(pve: PveClient, guest: GuestRef, plan: GuestPlan): Promise<readonly FieldChange[]> {
  const written: FieldChange[] = [];
  for (const action of plan.actions) {
    if (action.kind !== 'configure')
      throw new Error(`nothing but fields is declared, and the plan has a ${action.kind}`);
    const set = Object.fromEntries(action.changes.flatMap(({ write }) => (write.set === undefined ? [] : [write.set])));
    const remove = action.changes.flatMap(({ write }) => (write.remove === undefined ? [] : [write.remove]));
    await pve.guests.setConfig(guest, { digest: action.digest, set, remove });
    written.push(...action.changes);
  }
  return written;
}
