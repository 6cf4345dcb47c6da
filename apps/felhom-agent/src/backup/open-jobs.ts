import { stat } from 'node:fs/promises';
import { readJournal } from '@felhom/durable/journal.ts';
import { isOpen, type Job, jobRecord, replay } from './job.ts';

/** Jobs that hold the lane of their guest, by guest; see `openJobsIn`. Pure. */
export function openJobsOf(all: Iterable<Job>, hostBootId: string): Map<number, string> {
  const jobs = new Map<number, string>();
  for (const job of all) {
    const waits = job.phase === 'queued' && job.intent_at === null && job.upid === null;
    if (isOpen(job) && !waits && job.host_boot_id === hostBootId) jobs.set(job.vmid, job.job_id);
  }
  return jobs;
}

/**
 * Guests whose backup holds their lane, and its job, for those who do not run `serve`: from the moment its gate opens, or
 * vzdump was asked, to its end, whoever lives. A job of an earlier boot of the host holds nothing: vzdump died with it.
 * The journal is read only when it changed. Throws Failure `state_unreadable`.
 */
export function openJobsIn(journal: string, hostBootId: string): () => Promise<ReadonlyMap<number, string>> {
  let known: { mark: string; jobs: ReadonlyMap<number, string> } = { mark: '', jobs: new Map() };
  return async () => {
    const seen = await stat(journal).catch(() => null); // None yet: readJournal says so, or why it cannot be read.
    const mark = seen === null ? '' : `${seen.ino} ${seen.size} ${seen.mtimeMs}`;
    if (mark !== '' && mark === known.mark) return known.jobs;
    const { records } = await readJournal({ path: journal, schema: jobRecord });
    const jobs = openJobsOf(replay(records).values(), hostBootId);
    known = { mark, jobs };
    return jobs;
  };
}
