import { guestPlace } from '../cluster/cluster-folder.ts';
import { type Faults, type KillPoint, openFaults } from '../faults.ts';
import { type GuestStore, openGuests } from '../guests/guest-store.ts';
import { signal } from '../state/processes.ts';
import { openTasks, type TaskStore } from '../tasks/task-store.ts';
import type { VzdumpJob } from './job.ts';
import { openTaskLog, type TaskLog } from './task-log.ts';

/** What every step of a vzdump task works with. */
export interface Worker {
  job: VzdumpJob;
  log: TaskLog;
  tasks: TaskStore;
  guests: GuestStore;
  faults: Faults;
  /** Aborted by SIGTERM, which is how DELETE of a task begins. */
  signal: AbortSignal;
  /** Ends this process with SIGKILL when that was ordered for this point. */
  mayDie(point: KillPoint, vmid?: number): Promise<void>;
}

export function openWorker(job: VzdumpJob, abort: AbortSignal): Worker {
  const tasks = openTasks(job.state, job.upid);
  const faults = openFaults(job.state);
  return {
    job,
    tasks,
    faults,
    guests: openGuests(guestPlace(job)),
    log: openTaskLog(tasks, job.upid),
    signal: abort,
    mayDie: async (point, vmid) => {
      const order = faults.take('kill_worker', (fault) => fault.at === point && fits(fault.vmid, vmid));
      if (order === null) return;
      signal(process.pid, 'SIGKILL');
      await new Promise(() => {}); // nothing more happens in this process
    },
  };
}

function fits(wanted: number | undefined, vmid: number | undefined): boolean {
  return wanted === undefined || wanted === vmid;
}
