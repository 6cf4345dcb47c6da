import { nameOf } from '../guests/guest-record.ts';
import { type Backup, listBackups, removeBackup, setNotes, setProtected } from '../storage/backups.ts';
import { describeRetention, markForPrune } from '../storage/retention.ts';
import { type ArchiveOrders, describeSize, takeArchiveOrders, writeArchive } from './archive.ts';
import type { BackupTask } from './backup-task.ts';
import { logVmProgress, startVmBackup } from './capture-vm.ts';

/** Archive, notes, protection, prune. Answers when the archive was done, on the monotonic clock. */
export async function produceBackup(task: BackupTask): Promise<number> {
  const { worker, storage, paths, guest } = task;
  const pbs = storage.kind === 'pbs';
  const orders = takeArchiveOrders(task);
  worker.log.info(`creating ${pbs ? 'Proxmox Backup Server' : 'vzdump'} archive '${paths.target}'`);
  warnOfSlashes(task);
  await worker.mayDie('archive', task.vmid);
  if (guest.kind === 'qemu') await archiveVm(task, orders);
  else await archiveContainer(task, orders);
  if (!pbs) worker.log.info(`archive file size: ${describeSize(paths.archive)}`);
  const doneAt = performance.now();
  const backup = listBackups(storage).find((candidate) => candidate.volid === paths.volid);
  if (backup === undefined) throw new Error(`unable to find backup '${paths.volid}'`);
  annotate(task, backup);
  await worker.mayDie('prune', task.vmid);
  if (task.options.remove && (task.retention['keep-all'] ?? 0) === 0) prune(task);
  return doneAt;
}

async function archiveContainer(task: BackupTask, orders: ArchiveOrders): Promise<void> {
  const { worker, storage } = task;
  const pbs = storage.kind === 'pbs';
  if (pbs) announcePbs(task);
  const { lines, bytes, seconds } = await writeArchive(task, orders);
  if (pbs) summarisePbs(task, bytes, seconds);
  else for (const line of lines) worker.log.info(line);
}

async function archiveVm(task: BackupTask, orders: ArchiveOrders): Promise<void> {
  const { folder, discard } = await startVmBackup(task);
  try {
    task.source = folder;
    const { bytes, seconds } = await writeArchive(task, orders);
    logVmProgress(task, bytes, seconds);
  } finally {
    await discard();
  }
}

/** The lines of proxmox-backup-client around a container's upload (source; sizes are those of our archive). */
function announcePbs(task: BackupTask): void {
  const { worker, paths, storage, vmid } = task;
  const { log } = worker;
  const client = `/usr/bin/proxmox-backup-client backup --crypt-mode=none pct.conf:${paths.temporary}/etc/vzdump/pct.conf root.pxar:${task.source}`;
  log.info('set max number of entries in memory for file-based backups to 1048576');
  log.info(
    `run: lxc-usernsexec -m u:0:100000:65536 -m g:0:100000:65536 -- ${client} --backup-type ct --backup-id ${vmid} --repository ${storage.id}`,
  );
  log.info(`Starting backup: ${paths.target}`);
  log.info(`Client name: ${worker.job.node}`);
  log.info(`Starting backup protocol: ${new Date().toUTCString()}`);
  log.info(`Upload config file '${paths.temporary}/etc/vzdump/pct.conf' to '${storage.id}' as pct.conf.blob`);
  log.info(`Upload directory '${task.source}' to '${storage.id}' as root.pxar.didx`);
}

function summarisePbs(task: BackupTask, bytes: number, seconds: number): void {
  const { log } = task.worker;
  const size = `${(bytes / 1024 ** 2).toFixed(3)} MiB`;
  const rate = `${(bytes / 1024 ** 2 / Math.max(seconds, 0.01)).toFixed(3)} MiB/s`;
  log.info(
    `root.pxar: had to backup ${size} of ${size} (compressed ${size}) in ${seconds.toFixed(2)} s (average ${rate})`,
  );
  log.info(`Duration: ${seconds.toFixed(2)}s`);
  log.info(`End Time: ${new Date().toUTCString()}`);
}

function warnOfSlashes(task: BackupTask): void {
  for (const path of task.options.excludePaths) {
    if (path.endsWith('/')) task.worker.log.warn(`tar does not match exclusion with a trailing slash '${path}'`);
  }
}

function annotate(task: BackupTask, backup: Backup): void {
  const { log } = task.worker;
  if (task.options.notesTemplate !== '') {
    log.info('adding notes to backup');
    try {
      setNotes(backup, expandNotes(task));
    } catch (error) {
      log.warn(`unable to add notes - ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (!task.options.protected) return;
  log.info('marking backup as protected');
  setProtected(backup, true);
}

/** `\n` and `\\` are unescaped, `{{guestname}}`, `{{vmid}}`, `{{node}}`, `{{cluster}}` filled in. */
function expandNotes(task: BackupTask): string {
  const unescaped = task.options.notesTemplate.replaceAll(/\\(.)/g, (_, letter: string) => {
    if (letter === '\\') return '\\';
    if (letter === 'n') return '\n';
    throw new Error(`unexpected escape character '${letter}'`);
  });
  const values: Record<string, string> = {
    cluster: '',
    guestname: nameOf(task.guest),
    node: task.worker.job.node,
    vmid: String(task.vmid),
  };
  return unescaped.replaceAll(/\{\{(\S+?)\}\}/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`unexpected variable name '${name}'`);
    return value;
  });
}

function prune(task: BackupTask): void {
  const { worker, storage, retention, guest, vmid } = task;
  worker.log.info(`prune older backups with retention: ${describeRetention(retention)}`);
  const group = listBackups(storage).filter((backup) => backup.vmid === vmid && backup.type === guest.kind);
  const doomed = markForPrune(group, retention).filter(({ mark }) => mark === 'remove');
  for (const { backup } of doomed) {
    worker.log.info(`removing backup '${backup.volid}'`);
    removeBackup(backup);
  }
  worker.log.info(
    `pruned ${doomed.length} backup(s)${doomed.length > 0 ? ' not covered by keep-retention policy' : ''}`,
  );
}
