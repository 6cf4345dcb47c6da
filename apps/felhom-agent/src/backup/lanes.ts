import { join } from 'node:path';
import { acquireRunLock, processStartTime } from '@felhom/durable/run-lock.ts';
import type { Lane, Lanes } from './ports.ts';

/** Lanes as flocks under `folder`: `guest-101.lock` and `slot.lock`. The kernel frees them when we die. */
export function fileLanes(folder: string): Lanes {
  const take = async (name: string, purpose: string): Promise<Lane | null> => {
    const startTime = (await processStartTime(process.pid)) ?? '';
    const acquired = await acquireRunLock(join(folder, `${name}.lock`), { pid: process.pid, startTime, purpose });
    return acquired.kind === 'busy' ? null : { release: async () => await acquired.lock.release() };
  };
  return {
    tryGuest: async (vmid) => await take(`guest-${vmid}`, 'backup'),
    trySlot: async () => await take('slot', 'backup'),
  };
}
