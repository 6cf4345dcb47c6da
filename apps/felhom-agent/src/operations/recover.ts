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
 * The same for every guest whose lane is free, side by side: a lane that is held belongs to a process that is still at
 * it. What fails for one guest is thrown once all others have had their turn. Never asks PVE for anything again; safe at
 * any time.
 */
export async function recoverOperations(ports: OperationPorts, signal?: AbortSignal): Promise<Operation[]> {
  const vmids = new Set((await openOperations(ports)).map(({ payload }) => payload.vmid));
  const ends = await Promise.allSettled([...vmids].map(async (vmid) => await recoverIfFree(ports, vmid, signal)));
  const failed = ends.find((end) => end.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  return ends.flatMap((end) => (end.status === 'fulfilled' ? end.value : []));
}

async function recoverIfFree(ports: OperationPorts, vmid: number, signal?: AbortSignal): Promise<Operation[]> {
  const lane = await ports.lanes.tryGuest(vmid);
  if (lane === null) return [];
  try {
    return await recoverGuest(ports, vmid, signal);
  } finally {
    await lane.release();
  }
}

async function openOperations({ store }: OperationPorts): Promise<Operation[]> {
  return (await store.read()).operations.filter(isOpen);
}
