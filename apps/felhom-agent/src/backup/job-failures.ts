import { Failure } from '@felhom/kernel/failure.ts';
import type { Job } from './job.ts';

/** A conflict that names the job in the way. */
export class BusyFailure extends Failure {
  readonly job: Job;

  constructor(job: Job) {
    super('busy', {
      message: `a backup of this guest is under way (job ${job.job_id}, ${job.phase}); nothing else was started`,
      hint: `Follow it: felhom-agent backup status ${job.vmid} on the host, felhom-controller backup status in the guest.`,
    });
    this.job = job;
  }
}

/** Thrown as 409 `not_due`: only a backup that is due was asked for. */
export class NotDueFailure extends Failure {
  constructor(reason: string) {
    super('busy', {
      message: `no backup of this guest is due any more (${reason}); nothing was started`,
      hint: 'Nothing to do. To have one all the same: felhom-controller backup now',
    });
  }
}

/** Thrown as 410: the gate is closed, and what was asked for can no longer be had. */
export class GoneFailure extends Failure {
  constructor(job: Job) {
    super('operation_failed', {
      message: `the gate of job ${job.job_id} is closed (${job.degraded ?? job.error?.message ?? job.phase}): start the apps again`,
      hint: 'Start the apps; the next backup will ask again.',
    });
  }
}

export function noSuchJob(jobId: string): Failure {
  return new Failure('not_found', {
    message: `there is no job ${jobId}`,
    hint: 'It may be forgotten already: felhom-agent backup status',
  });
}
