import { type LogLine, type PveTasks, readTaskEnd, type TaskListItem } from '@felhom/proxmox/tasks.ts';
import { formatUpid, type Upid } from '@felhom/proxmox/upid.ts';
import { findAct } from 'felhom-agent/operations/find-act.ts';
import type {
  Act,
  ActAnswer,
  OperationPve,
  TargetBackup,
  TargetGuest,
  TargetSnapshot,
} from 'felhom-agent/operations/ports.ts';
import type { VirtualClock } from './virtual-clock.ts';

/*
 * A node in memory, as far as operations see it: what PVE refuses it refuses, a task takes its time, and its effect
 * comes in the middle. It goes on whatever becomes of the agent.
 */

/** How the node treats a request that starts a task. */
export type Mishap =
  /** The task is made, the answer is lost. */
  | 'answer-lost'
  /** The request is lost before it gets there. */
  | 'request-lost'
  /** The answer is lost, and the task comes only after 25 s. */
  | 'late'
  | 'refused'
  /** The task fails before its effect. */
  | 'task-fails';

export interface NodeState {
  guest: (TargetGuest & { snapshots: TargetSnapshot[] }) | null;
  backups: TargetBackup[];
}

interface Task {
  upid: Upid;
  type: string;
  id: string;
  startSeconds: number;
  exit: string | null;
  lines: string[];
}

export interface OperationNode {
  state: NodeState;
  pve: OperationPve;
  /** What cannot be taken back and was done, in order: `delete-backup bk:…`. */
  done: string[];
  /** Every request that reached the node. */
  asked: string[];
  violations: string[];
  mishap: Mishap | null;
  /** No call is answered until then, on the monotonic scale. */
  awayUntilMs: number;
}

export const tokenUser = 'felhom@pve!agent';
const taskTakesMs = 3_000;
const lateMs = 25_000;

export function operationNode(
  clock: VirtualClock,
  state: NodeState,
  mayStart: (act: Act) => string | null,
): OperationNode {
  const tasks: Task[] = [];
  const node: OperationNode = {
    state,
    done: [],
    asked: [],
    violations: [],
    mishap: null,
    awayUntilMs: 0,
    pve: pveOf(),
  };

  function present(): void {
    if (clock.monotonicMs() < node.awayUntilMs) throw new Error('PVE does not answer');
  }

  /** The task of an act; what it does comes in its middle. */
  function begin(act: Act): Upid {
    const type = typeOf(act);
    const id = act.kind === 'delete-backup' ? `${act.vmid}@${act.volid.split(':')[0]}` : String(act.vmid);
    const startSeconds = Math.floor(clock.nowMs() / 1000);
    const upid = formatUpid({
      node: 'pve1',
      pid: 4000 + tasks.length,
      pstart: 1,
      startSeconds,
      type,
      id,
      user: tokenUser,
    });
    const task: Task = { upid, type, id, startSeconds, exit: null, lines: firstLines(act) };
    tasks.push(task);
    const fails = node.mishap === 'task-fails';
    clock.after(taskTakesMs / 2, () => {
      if (!fails) effect(act, task);
    });
    clock.after(taskTakesMs, () => {
      if (act.kind === 'delete-backup') task.lines.push(`Removed volume '${act.volid}'`);
      task.exit = fails ? 'failed by order' : 'OK';
    });
    return upid;
  }

  function effect(act: Act, task: Task): void {
    const { guest } = node.state;
    if (act.kind === 'safety-backup') {
      const volid = `${act.storage}:backup/vzdump-lxc-101-safety.tar.zst`;
      node.state.backups.push({ ...someBackup, volid, protected: true });
      task.lines.push(`safety ${volid}`);
      return;
    }
    node.done.push(act.kind);
    if (act.kind === 'delete-backup')
      node.state.backups = node.state.backups.filter(({ volid }) => volid !== act.volid);
    else if (act.kind === 'destroy-guest') node.state.guest = null;
    else if (guest !== null) node.state.guest = { ...guest, configDigest: 'f'.repeat(40), running: false };
  }

  function answer(act: Act): ActAnswer {
    const { mishap } = node;
    node.asked.push(act.kind);
    const objection = mayStart(act);
    if (objection !== null) node.violations.push(objection);
    if (mishap === 'refused') return { kind: 'refused', why: 'refused by order' };
    if (mishap === 'request-lost') return { kind: 'lost', why: 'no answer' };
    if (mishap === 'late') {
      clock.after(lateMs, () => void begin(act));
      return { kind: 'lost', why: 'no answer' };
    }
    const upid = begin(act);
    return mishap === 'answer-lost' ? { kind: 'lost', why: 'no answer' } : { kind: 'started', upid };
  }

  function pveOf(): OperationPve {
    const listed = fakeTasks(tasks, present);
    return {
      node: 'pve1',
      guest: async (vmid) => {
        present();
        return node.state.guest?.vmid === vmid ? { ...node.state.guest } : null;
      },
      snapshots: async () => {
        present();
        return node.state.guest?.snapshots ?? [];
      },
      backup: async (volid) => {
        present();
        return node.state.backups.find((each) => each.volid === volid) ?? null;
      },
      clockSeconds: async () => {
        present();
        return Math.floor(clock.nowMs() / 1000);
      },
      start: async (act) => answer(act),
      find: async (question) => {
        if (clock.monotonicMs() < node.awayUntilMs) return { kind: 'undecided', why: 'PVE does not answer' };
        return await findAct(listed, question, tokenUser);
      },
      follow: async (upid, act, signal) => {
        const task = tasks.find((each) => each.upid === upid);
        if (task === undefined) return { kind: 'unknown' };
        while (task.exit === null) {
          if (signal?.aborted === true) return { kind: 'aborted' };
          await clock.sleep(250, signal);
        }
        if (task.exit !== 'OK') return { kind: 'failed', reason: task.exit };
        const volid = act.kind === 'safety-backup' ? (task.lines.at(-1)?.replace('safety ', '') ?? null) : null;
        return { kind: 'ok', volid };
      },
      startGuest: async () => {
        present();
        if (node.state.guest !== null) node.state.guest = { ...node.state.guest, running: true };
      },
    };
  }
  return node;
}

const someBackup: TargetBackup = {
  volid: 'bk:backup/vzdump-lxc-101-2026_11_20-01_00_00.tar.zst',
  vmid: 101,
  kind: 'lxc',
  sizeBytes: 31_108_454,
  protected: false,
  verification: null,
  path: '/bk/dump/x.tar.zst',
};

/** The node before anything was done: guest 101, stopped, with a snapshot, two backups of it and one of another guest. */
export function quietNode(): NodeState {
  const guest = {
    vmid: 101,
    kind: 'lxc' as const,
    running: false,
    lock: null,
    template: false,
    protected: false,
    configDigest: 'a'.repeat(40),
    rootVolume: 'local:101/vm-101-disk-0.raw',
    unsaved: [],
    snapshots: [{ name: 'before', takenSeconds: 1_795_000_000 }],
  };
  const other = { ...someBackup, volid: 'bk:backup/vzdump-lxc-101-2026_11_21-01_00_00.tar.zst' };
  const foreign = { ...someBackup, volid: 'bk:backup/vzdump-lxc-102-2026_11_20-01_00_00.tar.zst', vmid: 102 };
  return { guest, backups: [someBackup, other, foreign] };
}

function typeOf(act: Act): string {
  if (act.kind === 'safety-backup') return 'vzdump';
  if (act.kind === 'delete-backup') return 'imgdel';
  return { 'destroy-guest': 'vzdestroy', rollback: 'vzrollback', restore: 'vzrestore' }[act.kind];
}

function firstLines(act: Act): string[] {
  if (act.kind !== 'safety-backup') return [];
  return [`INFO: starting new backup job: vzdump 101 --notes-template '${act.mark}' --storage ${act.storage}`];
}

function fakeTasks(tasks: readonly Task[], present: () => void): Pick<PveTasks, 'list' | 'log'> {
  const toItem = (task: Task): TaskListItem => ({
    upid: task.upid,
    type: task.type,
    vmid: null,
    user: tokenUser,
    startSeconds: task.startSeconds,
    end: task.exit === null ? null : readTaskEnd(task.exit),
    endSeconds: task.exit === null ? null : task.startSeconds + 1,
  });
  return {
    list: async ({ type, sinceSeconds = 0 } = {}) => {
      present();
      return tasks.filter((task) => task.type === type && task.startSeconds >= sinceSeconds).map(toItem);
    },
    log: async (upid): Promise<LogLine[]> => {
      present();
      return (tasks.find((task) => task.upid === upid)?.lines ?? []).map((text, at) => ({ n: at + 1, text }));
    },
  };
}
