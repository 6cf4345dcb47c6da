import { join } from 'node:path';
import { readLockHolder } from '@felhom/durable/lock-holder.ts';
import { acquireRunLock, processStartTime } from '@felhom/durable/run-lock.ts';

/**
 * Lanes keep every two mutations of one guest apart, whoever of our processes does them: backups, reconcile, signed
 * operations. They are flocks: the kernel frees them when their holder dies, however it dies.
 */
export interface Lane {
  /** Twice is fine. */
  release(): Promise<void>;
}

export interface Lanes {
  /** The lane of a guest, or null when somebody of ours holds it: another process, or another piece of work of this one. */
  tryGuest(vmid: number): Promise<Lane | null>;
  /** The node's only slot for a backup that we start, or null. */
  trySlot(): Promise<Lane | null>;
}

/** What those need who wait for a lane and act beside others. */
export interface MutationLanes extends Pick<Lanes, 'tryGuest'> {
  /** What the holder of a guest's lane says that it does; null when nobody holds it, or says nothing. */
  guestHolder(vmid: number): Promise<string | null>;
  /** One of the node's `atMost` places for a mutation under way, or null while all are taken. */
  tryMutation(atMost: number): Promise<Lane | null>;
}

/** Lanes under `folder`: `guest-101.lock`, `slot.lock`, `mutation-1.lock`. `purpose` is what others are told of us. */
export function fileLanes(folder: string, purpose: string): Lanes & MutationLanes {
  const pathOf = (name: string): string => join(folder, `${name}.lock`);
  const take = async (name: string): Promise<Lane | null> => {
    const startTime = (await processStartTime(process.pid)) ?? '';
    const acquired = await acquireRunLock(pathOf(name), { pid: process.pid, startTime, purpose });
    return acquired.kind === 'busy' ? null : { release: async () => await acquired.lock.release() };
  };
  return {
    tryGuest: async (vmid) => await take(`guest-${vmid}`),
    trySlot: async () => await take('slot'),
    guestHolder: async (vmid) => {
      const holder = await readLockHolder(pathOf(`guest-${vmid}`));
      return holder === null ? null : `${holder.purpose ?? 'felhom-agent'}, process ${holder.pid}`;
    },
    tryMutation: async (atMost) => {
      for (let place = 1; place <= atMost; place += 1) {
        const lane = await take(`mutation-${place}`);
        if (lane !== null) return lane;
      }
      return null;
    },
  };
}
