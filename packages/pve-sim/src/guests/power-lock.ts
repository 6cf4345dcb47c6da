import { setTimeout as delay } from 'node:timers/promises';
import type { TaskRun } from '../tasks/task-runner.ts';

const pollMs = 20;

/** Start, stop and shutdown of one guest come one after the other, as its lock file has it. */
export interface PowerLocks {
  /** Waits for the guest's turn, at most 10 s; answers what gives it back. Says in the log that it waits. */
  enter(vmid: number, run: TaskRun, overruled?: () => void): Promise<() => void>;
  /** Makes a shutdown that holds the guest let go (`overrule-shutdown=1`). */
  overrule(vmid: number): void;
}

interface Holder {
  overruled: (() => void) | undefined;
}

export function powerLocks(waitMs = 10_000): PowerLocks {
  const holders = new Map<number, Holder>();
  return {
    enter: async (vmid, run, overruled) => {
      const giveUpAt = performance.now() + waitMs;
      const waits = holders.has(vmid);
      if (waits) run.log('trying to acquire lock...');
      while (holders.has(vmid)) {
        if (performance.now() > giveUpAt) {
          throw new Error(`can't lock file '/run/lock/lxc/pve-config-${vmid}.lock' - got timeout`);
        }
        await delay(pollMs);
      }
      if (waits) run.log(' OK');
      const holder: Holder = { overruled };
      holders.set(vmid, holder);
      return () => {
        if (holders.get(vmid) === holder) holders.delete(vmid);
      };
    },
    overrule: (vmid) => holders.get(vmid)?.overruled?.(),
  };
}
