import { parseUpid, parseVmid, type Upid } from '@felhom/proxmox/upid.ts';
import type { HookCall } from 'felhom-agent/backup/hook-gate.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** What becomes of a backup on the simulated node. */
export interface NodePlan {
  /** What the guest is. Default: a container. */
  kind?: 'lxc' | 'qemu';
  /** What a snapshot request comes to. */
  mode?: 'snapshot' | 'suspend' | 'stop';
  archiveMs?: number;
  fails?: 'snapshot' | 'archive';
  /** The guest is not started again after stop mode, and the task ends OK. */
  leavesDown?: boolean;
  /** How long a start of the guest takes, milliseconds. Default: 300. */
  startMs?: number;
  /** The guest stays frozen until the task is ended. */
  freezeHangs?: boolean;
  /** The answer to the POST never comes: before the task was started, or after. */
  losesAnswer?: 'before' | 'after';
  /** The guest lives on another node: PVE answers OK without a UPID. */
  elsewhere?: boolean;
  /** vzdump.conf names our hook. */
  hook?: boolean;
  /** A job of PVE's own goes over guest 100 before ours and over 102 after it; the first of them fails. */
  severalGuests?: boolean;
}

export interface Task {
  upid: Upid;
  type: string;
  lines: string[];
  end: string | null;
  /** Somebody ended it. */
  stopped: boolean;
}

export interface Archive {
  volid: string;
  notes: string;
  /** Whether every app was down at the point in time. */
  appsDown: boolean;
}

/** What a vzdump meets on its node. */
export interface VzdumpWorld {
  clock: VirtualClock;
  plan: NodePlan;
  guest: { running: boolean; lock: string | null; frozen: boolean };
  node: { lock: Task | null };
  archives: Archive[];
  appsDown: () => boolean;
  /** The point in time exists from now on. */
  onCapture: () => void;
  hook: (call: HookCall) => Promise<boolean>;
  power: (running: boolean) => void;
}

export interface VzdumpJob {
  mark: string;
  lockwaitMinutes: number | undefined;
  vmids: readonly number[];
}

/** Why a guest's backup failed, as the log says it. */
class BackupFailed extends Error {}

/** One vzdump from lock to end: lines, hook phases and their order as recorded. Never throws. */
export async function runVzdump(world: VzdumpWorld, task: Task, job: VzdumpJob): Promise<void> {
  await world.clock.sleep(60);
  if (!(await takeNodeLock(world, task, job))) return;
  task.lines.push(
    `INFO: starting new backup job: vzdump ${job.vmids.join(' ')} --storage bk --notes-template '${job.mark}' --mode snapshot --node pve1`,
  );
  let failed = 0;
  for (const vmid of job.vmids) {
    const went = vmid === 101 ? await backUpOurs(world, task, job) : await backUpAnother(world, task, vmid);
    if (!went) failed += 1;
  }
  task.lines.push(`INFO: Backup job finished ${failed === 0 ? 'successfully' : 'with errors'}`);
  end(world, task, failed === 0 ? 'OK' : 'job errors');
}

async function backUpOurs(world: VzdumpWorld, task: Task, job: VzdumpJob): Promise<boolean> {
  const { plan, guest } = world;
  task.lines.push(`INFO: Starting Backup of VM 101 (${plan.kind ?? 'lxc'})`, 'INFO: status = running');
  try {
    await backUp(world, task, job);
    task.lines.push('INFO: Finished Backup of VM 101 (00:00:01)');
    await call(world, task, 'log-end');
    return true;
  } catch (error) {
    guest.lock = null;
    await call(world, task, 'backup-abort');
    task.lines.push(`ERROR: Backup of VM 101 failed - ${error instanceof Error ? error.message : String(error)}`);
    await call(world, task, 'log-end');
    return false;
  }
}

/** A guest that is none of ours, in the same task: 100 fails, others go well. */
async function backUpAnother(world: VzdumpWorld, task: Task, vmid: number): Promise<boolean> {
  task.lines.push(`INFO: Starting Backup of VM ${vmid} (lxc)`, 'INFO: status = running');
  await call(world, task, 'backup-start', vmid);
  if (vmid === 100) {
    await call(world, task, 'backup-abort', vmid);
    task.lines.push(`ERROR: Backup of VM ${vmid} failed - CT is locked (migrate)`);
    await call(world, task, 'log-end', vmid);
    return false;
  }
  task.lines.push('INFO: backup mode: snapshot');
  await call(world, task, 'pre-stop', vmid);
  task.lines.push("INFO: create storage snapshot 'vzdump'");
  await call(world, task, 'pre-restart', vmid);
  task.lines.push(`INFO: creating vzdump archive '/bk/dump/vzdump-lxc-${vmid}.tar.zst'`);
  await world.clock.sleep(700);
  task.lines.push(`INFO: Finished Backup of VM ${vmid} (00:00:01)`);
  await call(world, task, 'log-end', vmid);
  return true;
}

async function takeNodeLock({ clock, node }: VzdumpWorld, task: Task, job: VzdumpJob): Promise<boolean> {
  if (node.lock !== null && job.lockwaitMinutes === 0) {
    task.lines.push("ERROR: can't acquire lock '/var/run/vzdump.lock' (wait = 0)");
    task.end = 'unexpected status';
    return false;
  }
  if (node.lock !== null) task.lines.push('INFO: trying to get global lock - waiting...');
  while (node.lock !== null) await clock.sleep(100);
  node.lock = task;
  return true;
}

function end({ node }: VzdumpWorld, task: Task, status: string): void {
  task.lines.push(status === 'OK' ? 'TASK OK' : `TASK ERROR: ${status}`);
  task.end = status;
  if (node.lock === task) node.lock = null;
}

async function backUp(world: VzdumpWorld, task: Task, job: VzdumpJob): Promise<void> {
  const mode = world.plan.mode ?? 'snapshot';
  if (!(await call(world, task, 'backup-start'))) throw new BackupFailed('hook');
  if (mode === 'suspend') task.lines.push('INFO: mode failure - some volumes do not support snapshots');
  task.lines.push(`INFO: backup mode: ${mode}`);
  world.guest.lock = 'backup';
  if (mode === 'suspend') await world.clock.sleep(500);
  if (mode === 'suspend') task.lines.push('INFO: suspending guest');
  if (mode === 'stop') task.lines.push('INFO: stopping virtual guest');
  if (!(await call(world, task, 'pre-stop'))) throw new BackupFailed("command 'pre-stop' failed: exit code 1");
  const machine = world.plan.kind === 'qemu';
  const appsDown = machine ? await captureMachine(world, task) : await capture(world, task, mode);
  await archive(world, task, { mark: job.mark, appsDown });
  await call(world, task, 'backup-end');
  if (mode === 'stop') await call(world, task, 'pre-restart');
  if (mode === 'stop' && world.plan.leavesDown !== true) world.power(true);
  world.guest.lock = null;
}

/** The point in time; answers whether the apps were down at it. */
async function capture(world: VzdumpWorld, task: Task, mode: 'snapshot' | 'suspend' | 'stop'): Promise<boolean> {
  const { clock, guest, plan } = world;
  stopIfEnded(task);
  if (mode === 'snapshot') task.lines.push("INFO: create storage snapshot 'vzdump'");
  if (mode === 'stop') world.power(false);
  await clock.sleep(100);
  guest.frozen = plan.freezeHangs === true;
  while (plan.freezeHangs === true && !task.stopped) await clock.sleep(100);
  guest.frozen = false;
  if (plan.fails === 'snapshot') {
    task.lines.push("INFO: cleanup temporary 'vzdump' snapshot");
    throw new BackupFailed('snapshot failed');
  }
  stopIfEnded(task);
  const appsDown = world.appsDown();
  // With the guest stopped its data are read until the archive is whole.
  if (mode !== 'stop') world.onCapture();
  if (mode === 'suspend') task.lines.push('INFO: final sync finished (1 seconds)', 'INFO: resuming guest');
  if (mode !== 'stop') await call(world, task, 'pre-restart');
  task.lines.push(`INFO: creating vzdump archive '${archivePath(world)}'`);
  return appsDown;
}

/** A VM's point in time lies in the archive step: `pre-restart` comes before it. */
async function captureMachine(world: VzdumpWorld, task: Task): Promise<boolean> {
  const { clock, plan } = world;
  await call(world, task, 'pre-restart');
  stopIfEnded(task);
  task.lines.push(
    `INFO: creating vzdump archive '${archivePath(world)}'`,
    "INFO: issuing guest-agent 'fs-freeze' command",
  );
  await clock.sleep(100);
  if (plan.fails === 'snapshot') throw new BackupFailed('VM 101 qmp command failed');
  stopIfEnded(task);
  const appsDown = world.appsDown();
  world.onCapture();
  task.lines.push(
    "INFO: issuing guest-agent 'fs-thaw' command",
    "INFO: started backup task 'f00'",
    'INFO: resuming VM again',
  );
  return appsDown;
}

function archivePath({ clock, plan }: VzdumpWorld): string {
  const seconds = Math.floor(clock.nowMs() / 1000);
  return plan.kind === 'qemu'
    ? `/bk/dump/vzdump-qemu-101-${seconds}.vma.zst`
    : `/bk/dump/vzdump-lxc-101-${seconds}.tar.zst`;
}

async function archive(world: VzdumpWorld, task: Task, made: { mark: string; appsDown: boolean }): Promise<void> {
  const { clock, plan } = world;
  const line = task.lines.findLast((each) => each.startsWith('INFO: creating vzdump archive')) ?? '';
  const name = line.slice(line.lastIndexOf('/') + 1, -1);
  const untilMs = clock.monotonicMs() + (plan.archiveMs ?? 900);
  while (clock.monotonicMs() < untilMs && !task.stopped) await clock.sleep(100);
  const broken = task.stopped ? 'interrupted by signal' : plan.fails === 'archive' ? 'archive failed' : null;
  // A guest that vzdump stopped is started again before the failure is reported.
  if (broken !== null && plan.mode === 'stop') world.power(true);
  if (broken !== null) throw new BackupFailed(broken);
  world.onCapture();
  world.archives.push({ volid: `bk:backup/${name}`, notes: made.mark, appsDown: made.appsDown });
}

function stopIfEnded(task: Task): void {
  if (task.stopped) throw new BackupFailed('interrupted by signal');
}

async function call({ plan, hook }: VzdumpWorld, task: Task, phase: string, vmid = 101): Promise<boolean> {
  if (plan.hook === false) return true;
  const pid = parseUpid(task.upid).pid;
  const mode = plan.mode ?? 'snapshot';
  const vmtype = vmid === 101 ? (plan.kind ?? 'lxc') : 'lxc';
  return await hook({ phase, mode, vmid: parseVmid(vmid), pid, storage: 'bk', vmtype, target: null });
}
