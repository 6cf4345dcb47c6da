import type { Lane } from '../lanes/lanes.ts';
import { type Driver, durableIfPossible, mustGet, text } from './driver.ts';
import type { TaskItem } from './ports.ts';

const wantedDown = new Set(['vzstop', 'vzshutdown', 'qmstop', 'qmshutdown']);
const starts = new Set(['vzstart', 'qmstart']);

/** Whether a person took the guest down since the job began: a stop or shutdown task that went well, pure. */
export function wasTakenDown(tasks: readonly TaskItem[], sinceSeconds: number): boolean {
  return tasks.some((task) => wantedDown.has(task.type) && task.startSeconds >= sinceSeconds && task.status === 'OK');
}

/**
 * A guest that ran when its job began and does not run now is started again, once its lock is gone;
 * vzdump can end OK and leave it down (VZDump.pm only warns). A guest that a person took down, that
 * is held, or that is declared stopped is left alone. What cannot be started is an alert.
 */
export async function payGuest(driver: Driver, jobId: string, lanes: { guest: Lane | null }): Promise<void> {
  const { bounds } = driver.config;
  const begunMs = driver.clock.monotonicMs();
  let why = 'it does not start';
  while (!driver.stop.aborted) {
    try {
      const outcome = await tryOnce(driver, jobId, lanes);
      if (outcome === 'settled') {
        driver.ports.alerts.clear(`guest-down:${mustGet(driver, jobId).vmid}`);
        return await durableIfPossible(driver, jobId, { guest_owed: 'settled' });
      }
      why = outcome;
    } catch (error) {
      why = text(error);
    }
    if (driver.clock.monotonicMs() - begunMs >= bounds.owed_guest) break;
    await driver.clock.sleep(bounds.owed_retry, driver.stop);
  }
  if (driver.stop.aborted) return;
  await alertDown(driver, jobId, why);
}

/** `settled`, or why not yet. */
async function tryOnce(driver: Driver, jobId: string, lanes: { guest: Lane | null }): Promise<string> {
  const { pve } = driver.ports;
  const job = mustGet(driver, jobId);
  // Without the lane somebody else of ours may be starting it at this moment.
  lanes.guest ??= await driver.ports.lanes.tryGuest(job.vmid);
  if (lanes.guest === null) return 'another process of felhom-agent is at work on it';
  const guest = await pve.guest(job.vmid);
  if (guest === null || guest.running || driver.leaveDown(job.vmid) !== null) return 'settled';
  const sinceSeconds = Math.floor(Date.parse(job.opened_at) / 1000);
  const tasks = await pve.tasks({ vmid: job.vmid, sinceSeconds: sinceSeconds - 60, source: 'all' });
  if (wasTakenDown(tasks, sinceSeconds)) return 'settled';
  // Whoever asked for it: we, we before a restart or without hearing the answer, or a person.
  if (tasks.some(({ type, running }) => running && starts.has(type))) return 'its start is under way';
  if (guest.lock !== null) return `it is locked (${guest.lock})`;
  driver.log('the guest ran before its backup and does not now: starting it', { vmid: job.vmid, job: jobId });
  await pve.startGuest(guest);
  return 'a start was asked for';
}

async function alertDown(driver: Driver, jobId: string, why: string): Promise<void> {
  const job = mustGet(driver, jobId);
  const program = job.guest_kind === 'qemu' ? 'qm' : 'pct';
  driver.ports.alerts.raise({
    key: `guest-down:${job.vmid}`,
    vmid: job.vmid,
    message: `guest ${job.vmid} ran before its backup and is down now: ${why}; its apps are down`,
    hint: `${program} start ${job.vmid}`,
  });
  await durableIfPossible(driver, jobId, { guest_owed: 'alerted' });
}
