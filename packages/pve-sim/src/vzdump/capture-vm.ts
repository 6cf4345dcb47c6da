import { randomUUID } from 'node:crypto';
import { freezeGuest, thawGuest } from '../guests/power.ts';
import { removeSnapshot, takeSnapshot } from '../guests/volume-snapshot.ts';
import { type BackupTask, hook, nowSeconds } from './backup-task.ts';
import { powerOff, powerOn, preStop, startBackup } from './capture-container.ts';
import { wait } from './programs.ts';

// A VM's point in time is made in the archive step, in every mode: the hook's `pre-restart` proves
// nothing for it, the line `started backup task` does (source: VZDump/QemuServer.pm).

export async function prepareVm(task: BackupTask): Promise<void> {
  const { guest, worker } = task;
  task.source = guest.dir;
  worker.log.info(`VM Name: ${guest.config['name'] ?? `VM ${guest.vmid}`}`);
  for (const disk of Object.keys(guest.config)
    .filter((key) => /^(scsi|virtio|sata|ide)\d+$/.test(key))
    .toSorted()) {
    const [volume = '', ...options] = String(guest.config[disk]).split(',');
    const size = options.find((option) => option.startsWith('size='))?.slice(5) ?? '';
    const out = options.includes('backup=0');
    worker.log.info(
      out ? `exclude disk '${disk}' '${volume}' (backup=no)` : `include disk '${disk}' '${volume}' ${size}`,
    );
  }
}

export async function callVmHooks(task: BackupTask): Promise<void> {
  const { worker } = task;
  await startBackup(task);
  if (!task.guest.running) return;
  if (task.mode === 'snapshot') {
    await preStop(task);
    await hook(task, 'pre-restart', task, worker.signal);
    await hook(task, 'post-restart', task, worker.signal);
    return;
  }
  worker.log.info(task.mode === 'stop' ? 'stopping virtual guest' : 'suspending guest');
  task.stoppedAt = nowSeconds();
  await preStop(task);
  if (task.mode === 'stop') {
    await powerOff(task);
  } else {
    task.owes.resume = true;
    await freezeGuest(task.guest);
  }
}

/** Fixes the point in time, says so, and lets the VM run on before its data is copied. Answers the folder to archive. */
export async function startVmBackup(task: BackupTask): Promise<{ folder: string; discard: () => Promise<void> }> {
  const { worker, vmid, guest } = task;
  const failure = worker.faults.take('fail_snapshot', (fault) => fault.vmid === undefined || fault.vmid === vmid);
  if (failure !== null) throw new Error(failure.text);
  const agent = String(guest.config['agent'] ?? '0').startsWith('1') && guest.running && task.mode === 'snapshot';
  if (task.mode === 'stop' && guest.running) worker.log.info('starting kvm to execute backup task');
  if (agent) {
    worker.log.info("issuing guest-agent 'fs-freeze' command");
    await freezeGuest(guest);
  }
  await worker.mayDie('snapshot', vmid);
  let folder: string;
  try {
    await freezeMayHang(task);
    folder = await takeSnapshot(guest.dir, 'vzdump');
  } finally {
    if (agent) {
      worker.log.info("issuing guest-agent 'fs-thaw' command");
      await thawGuest(guest);
    }
  }
  worker.log.info(`started backup task '${randomUUID()}'`);
  await worker.mayDie('snapshotted', vmid);
  await runOn(task);
  return { folder, discard: () => removeSnapshot(folder) };
}

/** VMs are copied block by block: progress, then a sum (the sizes are those of our files). */
export function logVmProgress(task: BackupTask, bytes: number, seconds: number): void {
  const { log } = task.worker;
  const rate = gibibytes(bytes / Math.max(seconds, 0.001));
  log.info(
    `100% (${gibibytes(bytes)} of ${gibibytes(bytes)}) in ${Math.max(1, Math.round(seconds))}s, read: ${rate}/s, write: ${rate}/s`,
  );
  log.info(`transferred ${gibibytes(bytes)} in ${Math.max(1, Math.round(seconds))} seconds (${rate}/s)`);
}

async function runOn(task: BackupTask): Promise<void> {
  if (task.stoppedAt === undefined) return;
  if (task.mode === 'stop') await powerOn(task);
  else await thawGuest(task.guest);
  task.owes.resume = false;
  task.worker.log.info(`resuming VM again after ${nowSeconds() - task.stoppedAt} seconds`);
}

async function freezeMayHang(task: BackupTask): Promise<void> {
  const { worker, vmid } = task;
  while (worker.faults.peek('freeze_hangs', (fault) => fault.vmid === undefined || fault.vmid === vmid) !== null) {
    await wait(20, worker.signal);
  }
}

function gibibytes(bytes: number): string {
  const [unit, size]: [string, number] =
    bytes >= 1024 ** 3 ? ['GiB', 1024 ** 3] : bytes >= 1024 ** 2 ? ['MiB', 1024 ** 2] : ['KiB', 1024];
  return `${(bytes / size).toFixed(1)} ${unit}`;
}
