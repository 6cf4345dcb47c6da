import type { TaskListItem } from '@felhom/proxmox/tasks.ts';
import { parseVmid } from '@felhom/proxmox/upid.ts';
import type { ReconcileNode } from './ports.ts';

/** Tasks that are looked through: those that run, and the newest that ended. */
const looked = 100;
/** Consoles that a person has open: they change nothing of the guest. */
const consoles = /^(?:vncproxy|vncshell|termproxy|spiceproxy|spiceshell)$/;
/** Clocks of one node, read in whole seconds at two moments. */
const marginSeconds = 2;

/** The guest's tasks of the node, running and ended, newest first. Without Sys.Audit PVE shows those of our token only. */
export async function tasksOf(
  pve: Pick<ReconcileNode, 'tasks'>,
  vmid: number,
  { sinceSeconds, signal }: { sinceSeconds?: number | undefined; signal?: AbortSignal | undefined } = {},
): Promise<TaskListItem[]> {
  const since = sinceSeconds === undefined ? {} : { sinceSeconds: sinceSeconds - marginSeconds };
  return await pve.tasks.list({ vmid: parseVmid(vmid), source: 'all', limit: looked, ...since }, { signal });
}

/** The task that runs for the guest, in words; null when none does. */
export function runningTask(tasks: readonly TaskListItem[]): string | null {
  const running = tasks.find((task) => task.end === null && !consoles.test(task.type));
  return running === undefined ? null : `a task of ${running.user} runs for it (${running.type})`;
}

/** Which of `tasks` may have begun at `nodeSeconds` or later, by the node's clock. */
export function recentTasks(tasks: readonly TaskListItem[], nodeSeconds: number): TaskListItem[] {
  return tasks.filter((task) => task.startSeconds >= nodeSeconds - marginSeconds);
}
