import { type Driver, text } from './driver.ts';
import type { Job } from './job.ts';

/** We end only tasks that we started. A call that fails is repeated by nobody: the task ends by itself. */
export async function stopOwnTask(driver: Driver, job: Job): Promise<void> {
  if (job.origin === 'pve' || job.upid === null) return;
  try {
    await driver.ports.pve.stopTask(job.upid);
  } catch (error) {
    driver.log('the task could not be ended', { upid: job.upid, error: text(error) });
  }
}
