import type { Job, JobPatch } from './job.ts';
import type { GuestKind, GuestLog } from './ports.ts';

/** What a job learns from a look at its task log, pure: the facts, and the step it takes, if any. */
export interface LogStep {
  set: JobPatch;
  /** The mode is another than was asked for, and the policy does not accept it. */
  downgraded: boolean;
}

/** In a container's job that the hook gated `pre-restart` proves the snapshot, and so does the log: whichever comes first. */
export function stepFromLog(job: Job, log: GuestLog, kind: GuestKind | null, accept: { mode: string | null }): LogStep {
  const set: JobPatch = {};
  if (log.mode !== null && job.mode !== log.mode) set.mode = log.mode;
  if (log.excluded.length > job.excluded.length) set.excluded = [...log.excluded];
  if (log.sizeBytes !== null && job.size_bytes !== log.sizeBytes) set.size_bytes = log.sizeBytes;
  if (log.volid !== null && job.volid !== log.volid) set.volid = log.volid;
  if (job.ran === null && log.wasRunning !== null) set.ran = log.wasRunning;
  const downgraded = accept.mode !== null && log.mode !== null && log.mode !== accept.mode && log.wasRunning !== false;
  const proven = log.proof !== null && (kind === 'qemu' || log.mode !== 'stop');
  if (proven && job.phase === 'capturing')
    return { set: { ...set, phase: 'snapshotted', proof: log.proof }, downgraded };
  return { set, downgraded };
}
