import { parseUpid, parseVmid, type Upid } from '@felhom/proxmox/upid.ts';
import type { HookCall } from 'felhom-agent/backup/hook-gate.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** What becomes of a backup on the simulated node. */
export interface NodePlan {
  /** What a snapshot request comes to. */
  mode?: 'snapshot' | 'suspend' | 'stop';
  archiveMs?: number;
  fails?: 'snapshot' | 'archive';
  /** The guest is not started again after stop mode, and the task ends OK. */
  leavesDown?: boolean;
  /** The guest stays frozen until the task is ended. */
  freezeHangs?: boolean;
  /** The answer to the POST never comes: before the task was started, or after. */
  losesAnswer?: 'before' | 'after';
  /** vzdump.conf names our hook. */
  hook?: boolean;
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
  hook: (call: HookCall) => Promise<boolean>;
  power: (running: boolean) => void;
}

export interface VzdumpJob {
  mark: string;
  lockwaitMinutes: number | undefined;
}

/** Why a guest's backup failed, as the log says it. */
class BackupFailed extends Error {}

/** One vzdump of guest 101 from lock to end: lines, hook phases and their order as recorded. Never throws. */
export async function runVzdump(world: VzdumpWorld, task: Task, job: VzdumpJob): Promise<void> {
  await world.clock.sleep(60);
  if (!(await takeNodeLock(world, task, job))) return;
  task.lines.push(
    `INFO: starting new backup job: vzdump 101 --storage bk --notes-template '${job.mark}' --mode snapshot --node pve1`,
    'INFO: Starting Backup of VM 101 (lxc)',
    'INFO: status = running',
  );
  try {
    await backUp(world, task, job);
    task.lines.push('INFO: Finished Backup of VM 101 (00:00:01)');
    await call(world, task, 'log-end');
    task.lines.push('INFO: Backup job finished successfully');
    end(world, task, 'OK');
  } catch (error) {
    world.guest.lock = null;
    await call(world, task, 'backup-abort');
    task.lines.push(`ERROR: Backup of VM 101 failed - ${error instanceof Error ? error.message : String(error)}`);
    await call(world, task, 'log-end');
    task.lines.push('INFO: Backup job finished with errors');
    end(world, task, 'job errors');
  }
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
  const appsDown = await capture(world, task, mode);
  await archive(world, task, { mark: job.mark, appsDown });
  if (mode === 'stop' && world.plan.leavesDown !== true) world.power(true);
  world.guest.lock = null;
  await call(world, task, 'backup-end');
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
  if (mode === 'suspend') task.lines.push('INFO: final sync finished (1 seconds)', 'INFO: resuming guest');
  if (mode !== 'stop') await call(world, task, 'pre-restart');
  return appsDown;
}

async function archive(world: VzdumpWorld, task: Task, made: { mark: string; appsDown: boolean }): Promise<void> {
  const { clock, plan } = world;
  const name = `vzdump-lxc-101-${Math.floor(clock.nowMs() / 1000)}.tar.zst`;
  task.lines.push(`INFO: creating vzdump archive '/bk/dump/${name}'`);
  const untilMs = clock.monotonicMs() + (plan.archiveMs ?? 400);
  while (clock.monotonicMs() < untilMs && !task.stopped) await clock.sleep(50);
  const broken = task.stopped ? 'interrupted by signal' : plan.fails === 'archive' ? 'archive failed' : null;
  // A guest that vzdump stopped is started again before the failure is reported.
  if (broken !== null && plan.mode === 'stop') world.power(true);
  if (broken !== null) throw new BackupFailed(broken);
  world.archives.push({ volid: `bk:backup/${name}`, notes: made.mark, appsDown: made.appsDown });
}

function stopIfEnded(task: Task): void {
  if (task.stopped) throw new BackupFailed('interrupted by signal');
}

async function call({ plan, hook }: VzdumpWorld, task: Task, phase: string): Promise<boolean> {
  if (plan.hook === false) return true;
  const pid = parseUpid(task.upid).pid;
  const mode = plan.mode ?? 'snapshot';
  return await hook({ phase, mode, vmid: parseVmid(101), pid, storage: 'bk', vmtype: 'lxc', target: null });
}
