import { isTerminal, type Job } from './job.ts';
import type { Jobs } from './jobs.ts';

/** vzdump does not outlive the host: what a job of an earlier boot still owes is its guest. */
export async function endByReboot(jobs: Jobs, job: Job): Promise<void> {
  const owed = {
    task_ended: true,
    ...(job.ran === true && job.guest_owed === 'none' ? { guest_owed: 'owed' as const } : {}),
  };
  const error = {
    code: 'backup_failed',
    message: 'the host was restarted while the backup ran',
    hint: 'Ask for a new backup.',
  };
  await jobs.change(job.job_id, isTerminal(job) ? owed : { ...owed, phase: 'failed', error }, 'at-once');
}
