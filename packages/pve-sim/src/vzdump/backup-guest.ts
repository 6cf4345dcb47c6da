import { copyFileSync, existsSync, rmSync } from 'node:fs';
import { thawGuest } from '../guests/power.ts';
import { isSubvolume } from '../guests/volume-snapshot.ts';
import { logTime } from '../storage/backup-names.ts';
import { listBackups } from '../storage/backups.ts';
import {
  type BackupTask,
  hook,
  type JobSetup,
  logOnlineAgain,
  nowSeconds,
  pace,
  pathsOf,
  prepareFolders,
} from './backup-task.ts';
import {
  captureBySnapshot,
  captureByStop,
  captureBySuspend,
  forgetSnapshot,
  powerOn,
  prepareContainer,
} from './capture-container.ts';
import { callVmHooks, prepareVm } from './capture-vm.ts';
import { produceBackup } from './produce-backup.ts';

/** Backs up one guest and cleans up whatever happened, in vzdump's order. Answers whether it succeeded. */
export async function backupGuest(setup: JobSetup, vmid: number): Promise<boolean> {
  const began = nowSeconds();
  const { log } = setup.worker;
  let task: BackupTask | null = null;
  let problem: string | null = null;
  try {
    task = openBackup(setup, vmid);
    await runBackup(task);
  } catch (error) {
    problem = messageOf(error);
  }
  if (task !== null) await cleanUp(task);
  if (problem === null) {
    log.info(`Finished Backup of VM ${vmid} (${clockTime(nowSeconds() - began)})`);
    log.info(`Backup finished at ${logTime(new Date())}`);
  } else {
    log.error(`Backup of VM ${vmid} failed - ${problem}`);
    log.info(`Failed at ${logTime(new Date())}`);
    if (task !== null) await quietly(hook(setup, 'backup-abort', task));
  }
  if (task !== null) await closeLog(task);
  return problem === null;
}

function openBackup(setup: JobSetup, vmid: number): BackupTask {
  const guest = setup.worker.guests.get(vmid);
  if (guest === null) throw new Error(`unable to find VM '${vmid}'`);
  checkLimit(setup, vmid, guest.kind);
  const paths = pathsOf(setup, guest, new Date());
  prepareFolders(paths);
  return {
    ...setup,
    vmid,
    guest,
    mode: setup.options.mode,
    paths,
    volumes: [],
    source: guest.dir,
    stoppedAt: undefined,
    owes: { unlock: false, snapshot: false, resume: false, restart: false },
  };
}

async function runBackup(task: BackupTask): Promise<void> {
  const { worker, options, guest, vmid } = task;
  const { log } = worker;
  log.guestFile(task.paths.workingLog);
  log.info(`Starting Backup of VM ${vmid} (${guest.kind})`);
  log.info(`Backup started at ${logTime(new Date())}`);
  log.info(`status = ${guest.running ? 'running' : 'stopped'}`);
  lockGuest(task);
  if (!guest.running) task.mode = 'stop';
  if (task.mode === 'snapshot') await prepareSnapshotMode(task);
  log.info(`backup mode: ${task.mode}`);
  if (options.bwlimit > 0) log.info(`bandwidth limit: ${options.bwlimit} KiB/s`);
  log.info(`ionice priority: ${options.ionice}`);
  if (task.mode !== 'snapshot') await prepare(task);
  if (guest.kind === 'qemu') await callVmHooks(task);
  else if (task.mode === 'snapshot') await captureBySnapshot(task);
  else if (task.mode === 'suspend') await captureBySuspend(task);
  else await captureByStop(task);
  const archived = await produceBackup(task);
  await pace(task, archived, worker.job.delays.finishMs);
  await hook(task, 'backup-end', task, worker.signal);
}

async function prepare(task: BackupTask): Promise<void> {
  if (task.guest.kind === 'qemu') await prepareVm(task);
  else await prepareContainer(task, task.mode);
}

/** Asks for snapshot mode; volumes that cannot make it suspend mode, which is said in the log and nowhere else. */
async function prepareSnapshotMode(task: BackupTask): Promise<void> {
  try {
    if (task.guest.kind === 'qemu') await prepareVm(task);
    else await prepareContainer(task, 'snapshot');
  } catch (error) {
    const text = messageOf(error);
    if (!text.startsWith('mode failure')) throw error;
    task.worker.log.info(text);
    task.worker.log.info("trying 'suspend' mode instead");
    task.mode = 'suspend';
  }
}

function lockGuest(task: BackupTask): void {
  task.guest = task.worker.guests.update(task.vmid, (guest) => {
    if (guest.lock !== undefined) throw new Error(`${guest.kind === 'lxc' ? 'CT' : 'VM'} is locked (${guest.lock})`);
    guest.lock = 'backup';
    return guest;
  });
  task.owes.unlock = true;
}

/** Without removal, a job refuses to exceed what the retention would keep. Protected backups do not count. */
function checkLimit(setup: JobSetup, vmid: number, kind: 'lxc' | 'qemu'): void {
  const { retention, options, storage } = setup;
  const keepsAll = (retention['keep-all'] ?? 0) !== 0;
  const limit = keepsAll ? 0 : Object.values(retention).reduce((sum, count) => sum + count, 0);
  if (limit === 0 || options.remove || options.protected) return;
  const mine = listBackups(storage).filter(
    (backup) => backup.vmid === vmid && backup.type === kind && !backup.protected,
  );
  if (mine.length < limit) return;
  throw new Error(
    `There is a max backup limit of ${limit} enforced by the target storage or the vzdump parameters. Either increase the limit or delete old backups.`,
  );
}

/** vzdump's clean-up, in its order: lock, snapshot, then the guest itself. What fails here is only a warning. */
async function cleanUp(task: BackupTask): Promise<void> {
  const { worker, owes, paths } = task;
  if (owes.unlock) worker.guests.update(task.vmid, (guest) => void delete guest.lock);
  if (owes.snapshot) {
    worker.log.info("cleanup temporary 'vzdump' snapshot");
    await warning(task, forgetSnapshot(task));
  }
  if (owes.resume || owes.restart) await warning(task, bringBack(task));
  rmSync(paths.growing, { force: true });
  if (existsSync(paths.temporary) && !(await isSubvolume(paths.temporary)))
    rmSync(paths.temporary, { recursive: true, force: true });
}

async function bringBack(task: BackupTask): Promise<void> {
  const { worker, owes, vmid } = task;
  await hook(task, 'pre-restart', task);
  if (owes.resume) {
    worker.log.info('resume vm');
    await thawGuest(task.guest);
  } else if (worker.guests.get(vmid)?.running === false) {
    await worker.mayDie('restart', vmid);
    worker.log.info('restarting vm');
    await powerOn(task);
  }
  await hook(task, 'post-restart', task);
  logOnlineAgain(task);
}

async function warning(task: BackupTask, work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    task.worker.log.bare(messageOf(error));
  }
}

async function closeLog(task: BackupTask): Promise<void> {
  const { paths } = task;
  task.worker.log.guestFile(null);
  if (paths.logfile !== null && existsSync(paths.workingLog)) copyFileSync(paths.workingLog, paths.logfile);
  await quietly(hook(task, 'log-end', task));
}

/** A hook that fails in these phases changes nothing any more. */
async function quietly(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch {
    return;
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function clockTime(seconds: number): string {
  return [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
}
