import { createHash } from 'node:crypto';
import { PveError, type PveFault } from '@felhom/proxmox/errors.ts';
import type { GuestKind, GuestRef, GuestStatus } from '@felhom/proxmox/guests.ts';
import { readTaskEnd, type TaskListItem } from '@felhom/proxmox/tasks.ts';
import { formatUpid, parseUpid, parseVmid, type Upid } from '@felhom/proxmox/upid.ts';
import type { ReconcileNode } from 'felhom-agent/reconcile/ports.ts';
import type { VirtualClock } from './virtual-clock.ts';

/*
 * A node as far as reconcile meets it: guests with a configuration and a digest, power tasks that take their time, calls
 * that are lost on either way or arrive late. It lives on whatever dies, and notes what must never happen.
 */

export const ourUser = 'felhom@pve!agent';
const personUser = 'root@pam';
const callMs = 5;
const powerMs = 700;

export interface SimGuest {
  vmid: number;
  kind: GuestKind;
  running: boolean;
  lock: string | null;
  /** On another node by now. */
  gone: boolean;
  config: Record<string, string>;
}

export interface SimTask {
  upid: Upid;
  user: string;
  vmid: number;
  end: string | null;
}

type Verb = 'start' | 'shutdown' | 'setConfig';
/** What becomes of the first call of a verb: lost on its way, its answer lost, or lost for us and arriving 20 s later. */
export type Loss = 'before' | 'after' | 'late';

export interface ReconcilePlan {
  loses?: Partial<Record<Verb, Loss>>;
  /** Guests that take longer to start or to stop, milliseconds. */
  slow?: Readonly<Record<number, number>>;
  /** Something that somebody else does at a time. */
  events?: readonly { atMs: number; does: (node: SimulatedReconcileNode) => void }[];
}

export interface SimulatedReconcileNode {
  pve: ReconcileNode;
  guests: Map<number, SimGuest>;
  tasks: SimTask[];
  violations: string[];
  /** Calls of ours that changed something, in order: `start 101`. */
  effects: string[];
  power(vmid: number, verb: 'start' | 'shutdown', user?: string): void;
  isIdle(): boolean;
}

const lateMs = 20_000;

export function simulateReconcileNode(
  clock: VirtualClock,
  guests: readonly SimGuest[],
  { plan, hasIntent }: { plan: ReconcilePlan; hasIntent: (vmid: number, kind: string) => boolean },
): SimulatedReconcileNode {
  const tasks: SimTask[] = [];
  const violations: string[] = [];
  const effects: string[] = [];
  const all = new Map(guests.map((guest) => [guest.vmid, guest]));
  const losses = new Map(Object.entries(plan.loses ?? {}));

  const find = (ref: { vmid: number; kind?: GuestKind }): SimGuest => {
    const guest = all.get(ref.vmid);
    if (guest === undefined || guest.gone) throw fault({ kind: 'not-found' }, 'Configuration file does not exist');
    return guest;
  };
  const digestOf = ({ config, lock }: SimGuest): string =>
    createHash('sha1')
      .update(JSON.stringify([config, lock]))
      .digest('hex');
  const runningTask = (vmid: number): SimTask | undefined =>
    tasks.find((task) => task.vmid === vmid && task.end === null);

  const power = (vmid: number, verb: 'start' | 'shutdown', user = personUser): Upid => {
    const guest = find({ vmid });
    if (verb === 'start' && guest.running) throw fault({ kind: 'already-running' }, `CT ${vmid} already running`);
    if (verb === 'shutdown' && !guest.running && guest.kind === 'lxc')
      throw fault({ kind: 'not-running' }, `CT ${vmid} not running`);
    const busy = runningTask(vmid);
    if (busy !== undefined && user === ourUser) violations.push(`${verb} ${vmid} was asked for while ${busy.upid} ran`);
    const parts = { node: 'pve1', pid: 1000 + tasks.length, pstart: tasks.length, user, id: String(vmid) };
    const type = `${guest.kind === 'lxc' ? 'vz' : 'qm'}${verb}`;
    const task: SimTask = {
      upid: formatUpid({ ...parts, type, startSeconds: Math.floor(clock.nowMs() / 1000) }),
      user,
      vmid,
      end: null,
    };
    tasks.push(task);
    clock.after(plan.slow?.[vmid] ?? powerMs, () => {
      if (guest.gone) task.end = 'Configuration file does not exist';
      else if (guest.lock !== null) task.end = `CT is locked (${guest.lock})`;
      else {
        guest.running = verb === 'start';
        task.end = 'OK';
      }
    });
    return task.upid;
  };

  /** A call of ours that changes something: on its way it may be lost, or its answer. */
  const change = async <T>(verb: Verb, vmid: number, work: () => T): Promise<T> => {
    const loss = losses.get(verb);
    losses.delete(verb);
    const act = (): T => {
      if (!hasIntent(vmid, verb === 'setConfig' ? 'configure' : verb))
        violations.push(`${verb} ${vmid} without an intent on disk`);
      const value = work();
      effects.push(`${verb} ${vmid}`);
      return value;
    };
    await clock.sleep(callMs);
    if (loss === 'late') clock.after(lateMs, () => void attempt(act));
    if (loss === 'after') attempt(act);
    if (loss !== undefined) throw fault({ kind: 'transport', outcome: 'unknown' }, 'the connection broke');
    return act();
  };
  const read = async <T>(work: () => T): Promise<T> => {
    await clock.sleep(callMs);
    return work();
  };

  const statusOf = ({ vmid, kind, running, lock }: SimGuest): GuestStatus => ({
    vmid: parseVmid(vmid),
    kind,
    name: `guest${vmid}`,
    running,
    lock,
    uptimeSeconds: 1,
    pid: 1,
    cpus: 1,
    memoryBytes: 1,
    maxMemoryBytes: 1,
    diskBytes: 1,
    template: false,
    tags: [],
  });
  const present = (): SimGuest[] => [...all.values()].filter(({ gone }) => !gone);
  const itemOf = (task: SimTask): TaskListItem => ({
    upid: task.upid,
    type: parseUpid(task.upid).type,
    vmid: parseVmid(task.vmid),
    user: task.user,
    startSeconds: parseUpid(task.upid).startSeconds,
    end: task.end === null ? null : readTaskEnd(task.end),
    endSeconds: null,
  });
  const taskOf = (upid: Upid): SimTask => {
    const task = tasks.find((each) => each.upid === upid);
    if (task === undefined) throw fault({ kind: 'not-found' }, 'no such task');
    return task;
  };
  const unused = async (): Promise<never> => {
    throw new Error('reconcile does not call this');
  };

  const pve: ReconcileNode = {
    node: 'pve1',
    user: ourUser,
    guests: {
      list: async () => await read(() => present().map(statusOf)),
      status: async (ref) => await read(() => ({ ...statusOf(find(ref)), haManaged: false })),
      config: unused,
      pending: async (ref) =>
        await read(() => {
          const guest = find(ref);
          const digest = digestOf(guest);
          const options = { ...guest.config, digest };
          return { ...ref, digest, lock: guest.lock, live: options, pending: options };
        }),
      setConfig: async (ref: GuestRef, { digest, set = {}, remove = [] }) =>
        await change('setConfig', ref.vmid, () => {
          const guest = find(ref);
          if (guest.lock !== null) throw fault({ kind: 'locked', lock: guest.lock }, `CT is locked (${guest.lock})`);
          if (digest !== digestOf(guest)) throw fault({ kind: 'stale-digest' }, 'detected modified configuration');
          const next = {
            ...guest.config,
            ...Object.fromEntries(Object.entries(set).map(([key, value]) => [key, String(value)])),
          };
          for (const option of remove) delete next[option];
          if (JSON.stringify(next) === JSON.stringify(guest.config))
            violations.push(`${ref.vmid} was written what it had`);
          guest.config = next;
        }),
      start: async (ref) => await change('start', ref.vmid, () => power(ref.vmid, 'start', ourUser)),
      shutdown: async (ref, { timeoutSeconds = 60 } = {}) =>
        await change('shutdown', ref.vmid, () => {
          const [, given = '0'] = /down=(\d+)/.exec(find(ref).config['startup'] ?? '') ?? [];
          if (timeoutSeconds < Number(given))
            violations.push(`${ref.vmid} was given ${timeoutSeconds} s to end, of ${given}`);
          return power(ref.vmid, 'shutdown', ourUser);
        }),
      stop: unused,
      feature: unused,
      snapshots: unused,
    },
    tasks: {
      status: async (upid) => await read(() => itemOf(taskOf(upid))),
      log: async (upid, { from = 1 } = {}) =>
        await read(() => {
          const { end } = taskOf(upid);
          const lines = end === null ? [] : [end === 'OK' ? 'TASK OK' : `TASK ERROR: ${end}`];
          return lines.map((text, index) => ({ n: index + 1, text })).slice(from - 1);
        }),
      list: async ({ vmid, sinceSeconds = 0 } = {}) =>
        await read(() =>
          tasks.filter((task) => task.vmid === vmid && parseUpid(task.upid).startSeconds >= sinceSeconds).map(itemOf),
        ),
      stop: unused,
    },
    nodes: {
      version: unused,
      status: unused,
      clockSeconds: async () => await read(() => Math.floor(clock.nowMs() / 1000)),
      clusterGuests: async () =>
        await read(() =>
          [...all.values()].map(({ vmid, kind, gone, running }) => ({
            vmid: parseVmid(vmid),
            kind,
            node: gone ? 'pve2' : 'pve1',
            name: `guest${vmid}`,
            status: running ? 'running' : 'stopped',
            lock: null,
            haState: null,
          })),
        ),
    },
  };
  const node: SimulatedReconcileNode = {
    pve,
    guests: all,
    tasks,
    violations,
    effects,
    power: (vmid, verb, user) => attempt(() => power(vmid, verb, user)),
    isIdle: () => tasks.every(({ end }) => end !== null),
  };
  for (const { atMs, does } of plan.events ?? []) clock.after(atMs, () => does(node));
  return node;
}

/** What PVE refuses is nobody's to hear where the answer is lost, or where a person asked. */
function attempt(work: () => unknown): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof PveError)) throw error;
  }
}

function fault(kind: PveFault, text: string): PveError {
  return new PveError({ fault: kind, call: 'POST simulated', text });
}
