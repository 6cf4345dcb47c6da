/**
 * The pace of an idle node with one volume on btrfs, in milliseconds: the least time each step of a
 * vzdump job takes, whatever this machine could do. Taken from the recorded hook sequences (docs:
 * POST to `creating vzdump archive` 0.20 to 0.28 s, end of `pre-stop` to `pre-restart` 0.1 s).
 */
export interface Delays {
  /** From the POST to `job-init`. */
  workerStartMs: number;
  /** From `job-init` to `job-start`. */
  jobStartMs: number;
  /** From `job-start` to `backup-start`. */
  backupStartMs: number;
  /** From `backup-start` to `pre-stop`. */
  preStopMs: number;
  /** From the end of `pre-stop` to `pre-restart`: the snapshot. */
  snapshotMs: number;
  /** From the archive's end to `backup-end`. */
  finishMs: number;
  /** Stopping and starting a guest, each. */
  powerMs: number;
}

export const recordedDelays: Delays = {
  workerStartMs: 45,
  jobStartMs: 24,
  backupStartMs: 25,
  preStopMs: 7,
  snapshotMs: 100,
  finishMs: 30,
  powerMs: 300,
};

export const noDelays: Delays = {
  workerStartMs: 0,
  jobStartMs: 0,
  backupStartMs: 0,
  preStopMs: 0,
  snapshotMs: 0,
  finishMs: 0,
  powerMs: 0,
};
