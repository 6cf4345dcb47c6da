import { PveError } from '@felhom/proxmox/errors.ts';
import { findLostStart } from '@felhom/proxmox/lost-start.ts';
import type { PveTasks, TaskListItem } from '@felhom/proxmox/tasks.ts';
import { parseUpid, parseVmid } from '@felhom/proxmox/upid.ts';
import type { Act, FoundAct, LostAct } from './ports.ts';

type Tasks = Pick<PveTasks, 'list' | 'log'>;

/** Between the node's clock as we read it and the start of a task: it counts whole seconds. */
const marginSeconds = 2;

/**
 * Looks once for the task of an act whose answer was lost. A backup is told by its mark. The others carry none: a task
 * of that type and guest, of our token, begun since we asked, that no other operation of ours owns, is this one's;
 * the deletion of a backup must also name it. Never throws for what PVE says; "not started" is concluded only by a
 * look that began after `certainAfterMs`.
 */
export async function findAct(tasks: Tasks, question: LostAct, tokenUser: string): Promise<FoundAct> {
  const { act, sinceSeconds, intentAgeMs, certainAfterMs } = question;
  if (act.kind === 'safety-backup') {
    const { vmid, mark } = act;
    const found = await findLostStart(tasks, {
      mark,
      vmid: parseVmid(vmid),
      sinceSeconds,
      intentAgeMs,
      certainAfterMs,
    });
    return found.kind === 'found' ? { kind: 'found', upid: found.upid } : found;
  }
  try {
    const filter = { type: taskType(act), sinceSeconds: sinceSeconds - marginSeconds, source: 'all' } as const;
    const candidates = (await tasks.list(filter)).filter((task) => mayBe(task, question, tokenUser));
    for (const task of candidates) {
      const told = await belongs(tasks, task, act);
      if (told === 'ours') return { kind: 'found', upid: task.upid };
      if (told === 'nothing-yet')
        return { kind: 'undecided', why: `the task ${task.upid} has not said yet what it does` };
    }
    if (intentAgeMs >= certainAfterMs) return { kind: 'not-started' };
    return { kind: 'undecided', why: 'a request that is under way may still become a task' };
  } catch (error) {
    if (!(error instanceof PveError)) throw error;
    return { kind: 'undecided', why: error.message };
  }
}

function taskType(act: Exclude<Act, { kind: 'safety-backup' }>): string {
  if (act.kind === 'delete-backup') return 'imgdel';
  const word = { 'destroy-guest': 'destroy', rollback: 'rollback', restore: 'restore' }[act.kind];
  return `${act.guestKind === 'lxc' ? 'vz' : 'qm'}${word}`;
}

/** The id of a deletion is `VMID@STORAGE`, of everything else the VMID. */
function mayBe(task: TaskListItem, { act, known }: LostAct, tokenUser: string): boolean {
  const wanted = act.kind === 'delete-backup' ? `${act.vmid}@${act.volid.split(':')[0]}` : String(act.vmid);
  return task.user === tokenUser && parseUpid(task.upid).id === wanted && !known.includes(task.upid);
}

async function belongs(tasks: Tasks, task: TaskListItem, act: Act): Promise<'ours' | 'another' | 'nothing-yet'> {
  if (act.kind !== 'delete-backup') return 'ours';
  // `Removed volume 'bk:backup/…'`, or in an error `'backup/…' on 'bk'`: both hold the part after the storage.
  const name = act.volid.slice(act.volid.indexOf(':') + 1);
  const lines = await tasks.log(task.upid, { from: 1, limit: 50 });
  if (lines.some(({ text }) => text.includes(name))) return 'ours';
  return task.end === null ? 'nothing-yet' : 'another';
}
