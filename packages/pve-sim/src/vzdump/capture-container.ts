import { freezeGuest, startGuest, stopGuest, thawGuest } from '../guests/power.ts';
import { removeSnapshot, takeSnapshot } from '../guests/volume-snapshot.ts';
import { type BackupTask, hook, logOnlineAgain, nowSeconds, pace } from './backup-task.ts';
import { runProgram, wait } from './programs.ts';
import { describeVolume, volumesOf } from './volumes.ts';

/** The name of the snapshot that vzdump makes, in the configuration and in its log lines. */
const snapshotName = 'vzdump';
/** `stopwait` 0 waits without limit; no timer can, but none of ours lives for three weeks. */
const unlimitedMinutes = 30_000;

/** Looks at the volumes. Throws `mode failure - …` when snapshot mode was asked and one of them cannot. */
export async function prepareContainer(task: BackupTask, mode: BackupTask['mode']): Promise<void> {
  const { log } = task.worker;
  task.volumes = volumesOf(task.guest);
  task.source = task.guest.dir;
  log.info(`CT Name: ${task.guest.config['hostname'] ?? `CT${task.vmid}`}`);
  for (const volume of task.volumes) log.info(describeVolume(volume));
  if (mode !== 'snapshot') return;
  if (task.volumes.some((volume) => volume.included && !volume.snapshots)) {
    throw new Error('mode failure - some volumes do not support snapshots');
  }
  if (task.guest.snapshots[snapshotName] !== undefined) {
    log.info('found old vzdump snapshot (force removal)');
    await forgetSnapshot(task);
  }
}

export async function captureBySnapshot(task: BackupTask): Promise<void> {
  const { worker } = task;
  await startBackup(task);
  const several = task.volumes.filter((volume) => volume.included).length > 1;
  await preStop(task);
  const began = performance.now();
  if (several) {
    worker.log.info('suspend vm to make snapshot');
    task.stoppedAt = nowSeconds();
    task.owes.resume = true;
    await freezeGuest(task.guest);
  }
  await makeSnapshot(task, !several);
  await pace(task, began, worker.job.delays.snapshotMs);
  await worker.mayDie('snapshotted', task.vmid);
  await hook(task, 'pre-restart', task, worker.signal);
  if (several) {
    worker.log.info('resume vm');
    task.owes.resume = false;
    await thawGuest(task.guest);
    logOnlineAgain(task);
  }
  await hook(task, 'post-restart', task, worker.signal);
}

export async function captureBySuspend(task: BackupTask): Promise<void> {
  const { worker } = task;
  await startBackup(task);
  await sync(task, 'first');
  worker.log.info('suspending guest');
  task.stoppedAt = nowSeconds();
  await preStop(task);
  task.owes.resume = true;
  await freezeGuest(task.guest);
  await holdFreeze(task);
  await sync(task, 'final');
  worker.log.info('resuming guest');
  task.owes.resume = false;
  await hook(task, 'pre-restart', task, worker.signal);
  await thawGuest(task.guest);
  await hook(task, 'post-restart', task, worker.signal);
  logOnlineAgain(task);
  task.source = task.paths.temporary;
}

/** Stop mode, and what every mode becomes for a guest that does not run: its files are archived as they lie. */
export async function captureByStop(task: BackupTask): Promise<void> {
  await startBackup(task);
  if (!task.guest.running) return;
  task.worker.log.info('stopping virtual guest');
  task.stoppedAt = nowSeconds();
  await preStop(task);
  await powerOff(task);
}

export async function startBackup(task: BackupTask): Promise<void> {
  const began = performance.now();
  await task.worker.mayDie('backup-start', task.vmid);
  await pace(task, began, task.worker.job.delays.backupStartMs);
  await hook(task, 'backup-start', task, task.worker.signal);
  await pace(task, performance.now(), task.worker.job.delays.preStopMs);
}

export async function preStop(task: BackupTask): Promise<void> {
  await hook(task, 'pre-stop', task, task.worker.signal);
  await task.worker.mayDie('pre-stop', task.vmid);
}

export async function powerOff(task: BackupTask): Promise<void> {
  const { worker, vmid, options } = task;
  const deaf = worker.faults.take('ignore_shutdown', (fault) => fault.vmid === undefined || fault.vmid === vmid);
  if (deaf !== null) await wait((options.stopwaitMinutes || unlimitedMinutes) * 60_000, worker.signal);
  await stopGuest(worker.guests, vmid, { ms: worker.job.delays.powerMs, signal: worker.signal });
  task.owes.restart = true;
}

export async function powerOn(task: BackupTask): Promise<void> {
  const { worker, vmid } = task;
  const wants = (fault: { vmid?: number | undefined }): boolean => fault.vmid === undefined || fault.vmid === vmid;
  if (worker.faults.take('leave_down', wants) !== null) {
    throw new Error(`command 'systemctl start pve-container@${vmid}' failed: exit code 1`);
  }
  const slow = worker.faults.take('slow_power', wants);
  await startGuest(worker.guests, vmid, { ms: Math.max(worker.job.delays.powerMs, slow?.ms ?? 0) });
}

/** Removes the snapshot and its mention in the configuration. One that sticks leaves `lock: snapshot-delete`. */
export async function forgetSnapshot(task: BackupTask): Promise<void> {
  const { worker, vmid } = task;
  const stuck = worker.faults.take('stuck_snapshot', (fault) => fault.vmid === undefined || fault.vmid === vmid);
  if (stuck !== null) {
    worker.guests.update(vmid, (guest) => {
      guest.lock = 'snapshot-delete';
    });
    throw new Error(`snapshot '${snapshotName}' could not be removed`);
  }
  const snapshot = worker.guests.get(vmid)?.snapshots[snapshotName];
  if (snapshot !== undefined) await removeSnapshot(snapshot.path);
  task.guest = worker.guests.update(vmid, (guest) => {
    const parent = guest.snapshots[snapshotName]?.parent;
    delete guest.snapshots[snapshotName];
    delete guest.parent;
    if (parent !== undefined) guest.parent = parent;
    return guest;
  });
}

async function makeSnapshot(task: BackupTask, freeze: boolean): Promise<void> {
  const { worker, vmid } = task;
  worker.log.info(`create storage snapshot '${snapshotName}'`);
  await worker.mayDie('snapshot', vmid);
  const failure = worker.faults.take('fail_snapshot', (fault) => fault.vmid === undefined || fault.vmid === vmid);
  if (failure !== null) {
    task.owes.snapshot = true;
    throw new Error(failure.text);
  }
  noteSnapshot(task);
  if (freeze) await freezeGuest(task.guest);
  try {
    await holdFreeze(task);
    task.source = await takeSnapshot(task.guest.dir, snapshotName);
  } finally {
    if (freeze) await thawGuest(task.guest);
  }
  const path = task.source;
  worker.guests.update(vmid, (guest) => {
    const snapshot = guest.snapshots[snapshotName];
    if (snapshot !== undefined) snapshot.path = path;
  });
  if (task.volumes.some((volume) => volume.included && volume.unsizedSubvolume)) {
    task.owes.snapshot = false; // recorded: this one is left behind
    throw new Error("cannot mount subvol snapshots for storage type 'btrfs'");
  }
}

/** The configuration names the snapshot before it is made, and as the parent of what runs (recorded). */
function noteSnapshot(task: BackupTask): void {
  task.owes.snapshot = true;
  task.worker.guests.update(task.vmid, (guest) => {
    const parent = guest.parent === undefined ? {} : { parent: guest.parent };
    guest.snapshots[snapshotName] = { config: { ...guest.config }, snaptime: nowSeconds(), path: '', ...parent };
    guest.parent = snapshotName;
  });
}

/** An ordered freeze that hangs lasts until the order is cleared or the task is ended. */
async function holdFreeze(task: BackupTask): Promise<void> {
  const { worker, vmid } = task;
  const hangs = (): boolean =>
    worker.faults.peek('freeze_hangs', (fault) => fault.vmid === undefined || fault.vmid === vmid) !== null;
  while (hangs()) await wait(20, worker.signal);
}

async function sync(task: BackupTask, which: 'first' | 'final'): Promise<void> {
  const { worker, guest, paths } = task;
  worker.log.info(`starting ${which} sync /proc/${guest.pid}/root/ to ${paths.temporary}`);
  const began = performance.now();
  const clear = ['-c', 'find "$1" -mindepth 1 -maxdepth 1 -exec rm -rf {} +; exec cp -a --reflink=auto "$2/." "$1"'];
  const full = worker.faults.take(
    'storage_full',
    (fault) => fault.storage === undefined || fault.storage === task.storage.id,
  );
  const label = 'rsync --stats -h -X -A --numeric-ids -aH --delete --no-whole-file --sparse --one-file-system';
  if (full !== null) {
    worker.log.error(`rsync: [receiver] write failed on "${paths.temporary}/data": No space left on device (28)`);
    throw new Error(`command '${label}' failed: exit code 11`);
  }
  await runProgram('sh', [...clear, 'sync', paths.temporary, guest.dir], { label, signal: worker.signal });
  const bytes = which === 'first' ? await sizeOf(paths.temporary) : 0;
  const seconds = Math.round((performance.now() - began) / 1000);
  worker.log.info(`${which} sync finished - transferred ${humanBytes(bytes)} bytes in ${seconds}s`);
}

async function sizeOf(folder: string): Promise<number> {
  let text = '';
  await runProgram('du', ['-sb', folder], { line: (line) => (text += line) });
  return Number.parseInt(text, 10);
}

/** As rsync -h prints it: `2.02M`. */
function humanBytes(bytes: number): string {
  const units = ['', 'K', 'M', 'G', 'T'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return unit === 0 ? String(value) : `${value.toFixed(2)}${units[unit]}`;
}
