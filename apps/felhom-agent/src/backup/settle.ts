import type { Lane } from '../lanes/lanes.ts';
import { type Driver, durableIfPossible, mustGet, text } from './driver.ts';
import { writeNotesText } from './notes.ts';
import { payGuest } from './owed-guest.ts';

/** What a job holds while it is driven; whoever drives it gives it back. */
export interface HeldLanes {
  slot: Lane | null;
  guest: Lane | null;
}

/** Pays what an ended job still owes: a guest that vzdump left down first, then the notes of its backup. */
export async function settleJob(driver: Driver, jobId: string, lanes: HeldLanes): Promise<void> {
  if (mustGet(driver, jobId).guest_owed === 'owed') await payGuest(driver, jobId, lanes);
  await payNotes(driver, jobId);
}

/** Writes the notes of a finished backup until they are as the job says. One writer per job: the newest state wins. */
export async function payNotes(driver: Driver, jobId: string): Promise<void> {
  const { writing } = driver;
  const earlier = writing.get(jobId) ?? Promise.resolve();
  const mine = earlier.then(async () => await writeUntilDone(driver, jobId));
  writing.set(jobId, mine);
  await mine.finally(() => {
    if (writing.get(jobId) === mine) writing.delete(jobId);
  });
}

async function writeUntilDone(driver: Driver, jobId: string): Promise<void> {
  for (let attempt = 0; !driver.stop.aborted; attempt += 1) {
    const job = mustGet(driver, jobId);
    if (job.notes !== 'owed') return;
    // A backup whose volid was never learned has no notes that we could find again.
    if (job.volid === null) return await durableIfPossible(driver, jobId, { notes: 'none' });
    try {
      await driver.ports.pve.writeNotes(
        job.volid.split(':')[0] ?? '',
        job.volid,
        writeNotesText(job, driver.guestName(job.vmid)),
      );
      const now = mustGet(driver, jobId);
      if (now.report === job.report) return await durableIfPossible(driver, jobId, { notes: 'written' });
    } catch (error) {
      driver.log('the notes of a backup could not be written', { job: jobId, volid: job.volid, error: text(error) });
      if (attempt >= 20) return;
      await driver.clock.sleep(driver.config.bounds.notes_retry, driver.stop);
    }
  }
}
