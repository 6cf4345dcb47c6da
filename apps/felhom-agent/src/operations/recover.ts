import { recoverOperation } from './perform.ts';
import type { OperationPorts } from './ports.ts';
import { isOpen, type Operation } from './record.ts';

/**
 * Resolves what earlier processes left open for one guest. The caller holds its lane, so whoever began them is dead.
 * Answers those operations as they are now; one that PVE does not tell of yet stays open.
 */
export async function recoverGuest(ports: OperationPorts, vmid: number, signal?: AbortSignal): Promise<Operation[]> {
  const settled: Operation[] = [];
  for (const open of await openOperations(ports)) {
    if (open.payload.vmid === vmid) settled.push(await recoverOperation(ports, open, signal));
  }
  return settled;
}

/**
 * The same for every guest whose lane is free: a lane that is held belongs to a process that is still at it.
 * Never asks PVE for anything again; safe at any time.
 */
export async function recoverOperations(ports: OperationPorts, signal?: AbortSignal): Promise<Operation[]> {
  const vmids = new Set((await openOperations(ports)).map(({ payload }) => payload.vmid));
  const settled: Operation[] = [];
  for (const vmid of vmids) {
    const lane = await ports.lanes.tryGuest(vmid);
    if (lane === null) continue;
    try {
      settled.push(...(await recoverGuest(ports, vmid, signal)));
    } finally {
      await lane.release();
    }
  }
  return settled;
}

async function openOperations({ store }: OperationPorts): Promise<Operation[]> {
  return (await store.read()).operations.filter(isOpen);
}
