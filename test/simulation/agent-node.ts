import type { PveClient } from '@felhom/proxmox/client.ts';
import { PveError } from '@felhom/proxmox/errors.ts';
import type { GuestStatus } from '@felhom/proxmox/guests.ts';
import { readTaskEnd, type TaskListItem } from '@felhom/proxmox/tasks.ts';
import { formatUpid, parseUpid, parseVmid, type Upid } from '@felhom/proxmox/upid.ts';
import type { HookCall } from 'felhom-agent/backup/hook-gate.ts';
import { type Archive, type NodePlan, runVzdump, type Task, type VzdumpJob, type VzdumpWorld } from './agent-vzdump.ts';
import type { VirtualClock } from './virtual-clock.ts';

/*
 * A node as far as backups meet it: one guest, one storage, vzdump with its hook and its node lock. It lives on
 * whatever dies. Lines and orders are those that were recorded of a real one.
 */

export interface SimulatedNode {
  client: PveClient;
  guest: { running: boolean; lock: string | null };
  archives: Archive[];
  /** The marks of all POSTs, also of those that started nothing. */
  posts: string[];
  violations: string[];
  /** A point in time of the guest was captured. */
  isCaptured(): boolean;
  /** Starts a job as PVE's own schedule does. */
  startOwnJob(): Upid;
  isIdle(): boolean;
  /** Every process of the guest stands still. */
  isFrozen(): boolean;
  /** The host goes down: every worker with it. What it held of the guest stays locked. */
  goDown(): void;
  /** The host and its guests are up again. */
  comeUp(): void;
}

export interface NodeOptions {
  clock: VirtualClock;
  plan: NodePlan;
  /** Whether the apps of the guest are down right now. */
  appsDown: () => boolean;
  /** Runs our hook script; false when it ends 1. */
  hook: (call: HookCall) => Promise<boolean>;
  /** vzdump stops or starts the guest: its apps go with it. */
  onPower: (running: boolean) => void;
  /** A POST arrives: what is wrong with that, in words, or null. */
  onPost: (mark: string) => string | null;
}

const vmid = parseVmid(101);

export function simulateNode(options: NodeOptions): SimulatedNode {
  const { clock, plan, appsDown, onPower } = options;
  const tasks: Task[] = [];
  const archives: Archive[] = [];
  const posts: string[] = [];
  const violations: string[] = [];
  const guest: VzdumpWorld['guest'] = { running: true, lock: null, frozen: false };
  const node: VzdumpWorld['node'] = { lock: null };
  let captured = false;
  const kind = plan.kind ?? 'lxc';

  const newTask = (type: string, id = '101'): Task => {
    const pid = 1000 + tasks.length;
    const startSeconds = Math.floor(clock.nowMs() / 1000);
    const parts = { node: 'pve1', pid, pstart: tasks.length, startSeconds, type, id, user: 'felhom@pve!agent' };
    const task: Task = { upid: formatUpid(parts), type, lines: [], end: null, stopped: false };
    tasks.push(task);
    return task;
  };
  const power = (running: boolean): void => {
    guest.running = running;
    onPower(running);
  };

  const start = (job: VzdumpJob): Upid => {
    if (job.mark !== 'nightly' && !isIdle())
      violations.push('a vzdump was started while another one of the guest runs');
    const task = newTask('vzdump', job.vmids.length === 1 ? '101' : '');
    const onCapture = (): void => {
      captured = true;
    };
    // A worker that its host took along does nothing more.
    const whileAlive = async <T>(work: Promise<T>): Promise<T> => {
      const value = await work;
      return task.end === 'unexpected status' ? await new Promise<T>(() => undefined) : value;
    };
    const sleep: VirtualClock['sleep'] = async (ms) => await whileAlive(clock.sleep(ms));
    const hook: VzdumpWorld['hook'] = async (call) => await whileAlive(options.hook(call));
    const world = { clock: { ...clock, sleep }, plan, guest, node, archives, appsDown, onCapture, hook, power };
    void runVzdump(world, task, job);
    return task.upid;
  };
  const isIdle = (): boolean => tasks.every((task) => task.end !== null);

  const find = (upid: Upid): Task => {
    const task = tasks.find((each) => each.upid === upid);
    if (task === undefined) throw fault('no such task');
    return task;
  };
  const toItem = (task: Task): TaskListItem => ({
    upid: task.upid,
    type: task.type,
    vmid: parseUpid(task.upid).id === '' ? null : vmid,
    user: 'felhom@pve!agent',
    startSeconds: parseUpid(task.upid).startSeconds,
    end: task.end === null ? null : readTaskEnd(task.end),
    endSeconds: null,
  });
  const status = (): GuestStatus => ({
    vmid,
    kind,
    name: 'docker1',
    running: guest.running,
    lock: guest.lock,
    uptimeSeconds: 1,
    pid: 1,
    cpus: 1,
    memoryBytes: 1,
    maxMemoryBytes: 1,
    diskBytes: 1,
    template: false,
    tags: [],
  });
  const unused = async (): Promise<never> => {
    throw new Error('the agent does not call this');
  };

  const client: PveClient = {
    node: 'pve1',
    user: 'felhom@pve!agent',
    guests: {
      list: async () => [status()],
      status: async () => ({ ...status(), haManaged: false }),
      config: async () => ({
        vmid,
        kind,
        digest: 'd',
        lock: guest.lock,
        options: { [kind === 'lxc' ? 'rootfs' : 'scsi0']: 'local-zfs:volume-101-disk-0,size=8G' },
      }),
      pending: unused,
      setConfig: unused,
      start: async () => {
        if (guest.lock !== null) violations.push(`a start was asked for while the guest is locked (${guest.lock})`);
        if (tasks.some(({ type, end }) => type === 'vzstart' && end === null))
          violations.push('a start was asked for while another one runs');
        const task = newTask('vzstart');
        clock.after(plan.startMs ?? 300, () => {
          power(true);
          task.end = 'OK';
        });
        return task.upid;
      },
      shutdown: unused,
      stop: unused,
      feature: async () => true,
      snapshots: async () => [],
    },
    tasks: {
      status: async (upid) => toItem(find(upid)),
      log: async (upid, { from = 1 } = {}) =>
        find(upid)
          .lines.map((text, index) => ({ n: index + 1, text }))
          .slice(from - 1),
      list: async ({ type, source, sinceSeconds = 0 } = {}) =>
        tasks
          .filter((task) => (type === undefined || task.type === type) && (source !== 'active' || task.end === null))
          .map(toItem)
          .filter(({ startSeconds }) => startSeconds >= sinceSeconds),
      stop: async (upid) => {
        find(upid).stopped = true;
      },
    },
    vzdump: {
      start: async (request) => {
        const wrong = options.onPost(request.mark);
        if (wrong !== null) violations.push(wrong);
        if (posts.includes(request.mark)) violations.push(`the job of mark ${request.mark} was posted twice`);
        posts.push(request.mark);
        await clock.sleep(50);
        if (plan.losesAnswer === 'before') return { kind: 'lost', error: fault('the connection broke') };
        if (plan.elsewhere === true) return { kind: 'elsewhere' };
        const upid = start({ mark: request.mark, lockwaitMinutes: request.lockwaitMinutes, vmids: [101] });
        return plan.losesAnswer === 'after'
          ? { kind: 'lost', error: fault('the connection broke') }
          : { kind: 'started', upid };
      },
    },
    storage: {
      list: unused,
      status: async (name) => ({
        name,
        type: name === 'bk' ? 'dir' : 'zfspool',
        active: true,
        enabled: true,
        shared: false,
        content: ['backup'],
        totalBytes: 1e12,
        usedBytes: 0,
        availableBytes: 1e12,
      }),
      backups: async () =>
        archives.map(({ volid, notes }) => ({
          volid,
          storage: 'bk',
          storageType: 'dir',
          vmid,
          kind,
          createdSeconds: Math.floor(clock.nowMs() / 1000),
          sizeBytes: 1,
          notesFirstLine: notes.split('\n')[0] ?? '',
          protected: false,
          verification: null,
          encrypted: false,
        })),
      backup: unused,
      setNotes: async (volid, notes) => {
        const archive = archives.find((each) => each.volid === volid);
        if (archive === undefined) throw fault('no such volume');
        archive.notes = notes;
      },
      setProtected: unused,
    },
    nodes: { version: unused, status: unused, clockSeconds: unused, clusterGuests: async () => [] },
    irreversible: { destroyGuest: unused, deleteBackup: unused, rollback: unused, restoreOver: unused },
    close: async () => undefined,
  };
  return {
    client,
    guest,
    archives,
    posts,
    violations,
    startOwnJob: () =>
      start({ mark: 'nightly', lockwaitMinutes: 180, vmids: plan.severalGuests === true ? [100, 101, 102] : [101] }),
    isFrozen: () => guest.frozen,
    isIdle,
    isCaptured: () => captured,
    goDown: () => {
      for (const task of tasks) task.end ??= 'unexpected status';
      node.lock = null;
      guest.frozen = false;
      power(false);
    },
    comeUp: () => {
      // A guest that is locked is not started with its host.
      if (guest.lock === null) power(true);
    },
  };
}

function fault(text: string): PveError {
  return new PveError({ fault: { kind: 'transport', outcome: 'unknown' }, call: 'POST /nodes/pve1/vzdump', text });
}
