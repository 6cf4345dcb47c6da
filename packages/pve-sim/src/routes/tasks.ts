import { setTimeout as delay } from 'node:timers/promises';
import { require } from '../auth.ts';
import { parameterError } from '../http/api-error.ts';
import { flag, integer, isSet, numberOf, stringOf, text } from '../http/parameters.ts';
import type { SimNode } from '../node.ts';
import { type Call, Counted, type Route } from '../router.ts';
import { isAlive, signal } from '../state/processes.ts';
import type { TaskEnd, TaskRecord } from '../tasks/task-store.ts';
import { parseUpid } from '../tasks/upid.ts';

const defaultLimit = 50;
const graceMs = 5_000;

/** Lists, status, log and end of tasks. */
export const taskRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/nodes/{node}/tasks',
    protected: true,
    params: {
      start: { type: 'integer', min: 0 },
      limit: { type: 'integer', min: 0 },
      errors: flag,
      userfilter: text,
      vmid: integer,
      typefilter: text,
      statusfilter: text,
      source: { type: 'string', oneOf: ['archive', 'active', 'all'] },
      since: integer,
      until: integer,
    },
    handle: listTasks,
  },
  { method: 'GET', path: '/nodes/{node}/tasks/{upid}/status', protected: true, params: {}, handle: taskStatus },
  {
    method: 'GET',
    path: '/nodes/{node}/tasks/{upid}/log',
    protected: true,
    params: { start: { type: 'integer', min: 0 }, limit: { type: 'integer', min: 0 }, download: flag },
    handle: taskLog,
  },
  { method: 'DELETE', path: '/nodes/{node}/tasks/{upid}', protected: true, params: {}, handle: stopTask },
];

interface Listed {
  task: TaskRecord;
  end: TaskEnd | null;
}

function listTasks({ node, caller, params }: Call): Counted {
  const source = stringOf(params, 'source') ?? 'archive';
  const audits = caller.may(`/nodes/${node.name}`, 'Sys.Audit');
  const found = node.tasks
    .list()
    .filter((task) => audits || task.user === caller.id)
    .map((task): Listed => ({ task, end: node.tasks.end(task.upid) }))
    .filter(({ end }) => source === 'all' || (source === 'active') === (end === null))
    .filter((listed) => fits(listed, params))
    .toSorted(newestFirst);
  const start = numberOf(params, 'start') ?? 0;
  const limit = numberOf(params, 'limit') ?? defaultLimit;
  const page = found.slice(start, limit === 0 ? undefined : start + limit);
  return new Counted(page.map(listItem), found.length);
}

function fits({ task, end }: Listed, params: Call['params']): boolean {
  const [vmid, since, until] = [numberOf(params, 'vmid'), numberOf(params, 'since'), numberOf(params, 'until')];
  const [type, user, status] = [
    stringOf(params, 'typefilter'),
    stringOf(params, 'userfilter'),
    stringOf(params, 'statusfilter'),
  ];
  if (vmid !== undefined && task.id !== String(vmid)) return false;
  if (type !== undefined && task.type !== type) return false;
  if (user !== undefined && !task.user.includes(user)) return false;
  if (since !== undefined && task.starttime < since) return false;
  if (until !== undefined && task.starttime > until) return false;
  if (isSet(params, 'errors') && (end === null || end.exitstatus === 'OK')) return false;
  return status === undefined || status.split(',').includes(end === null ? 'running' : statusWord(end.exitstatus));
}

function statusWord(exitstatus: string): string {
  if (exitstatus === 'OK') return 'ok';
  return exitstatus.startsWith('WARNINGS: ') ? 'warning' : 'error';
}

function newestFirst(a: Listed, b: Listed): number {
  const endOf = ({ end }: Listed): number => end?.endtime ?? Number.MAX_SAFE_INTEGER;
  return endOf(b) - endOf(a) || b.task.starttime - a.task.starttime || (a.task.upid < b.task.upid ? 1 : -1);
}

/** Finished: user and token apart. Running: the whole owner, `saved: "0"` (recorded). */
function listItem({ task, end }: Listed): Record<string, unknown> {
  const { upid, node, pid, pstart, starttime, type, id } = task;
  const common = { upid, node, pid, pstart, starttime, type, id };
  if (end === null) return { ...common, user: task.user, saved: '0', status: 'RUNNING' };
  return { ...common, ...owner(task), endtime: end.endtime, status: end.exitstatus };
}

function taskStatus(call: Call): Record<string, unknown> {
  const task = ownTask(call, 'Sys.Audit');
  if (task === null) throw parameterError({ upid: 'no such task' });
  const { upid, node, pid, pstart, starttime, type, id } = task;
  const end = call.node.tasks.end(upid);
  const state = end === null ? { status: 'running' } : { status: 'stopped', exitstatus: end.exitstatus };
  return { upid, node, pid, pstart, starttime, type, id, ...owner(task), ...state };
}

/** The log of a task that never was is one line, not an error (recorded). */
function taskLog(call: Call): Counted {
  const { node, params } = call;
  const task = ownTask(call, 'Sys.Audit');
  if (task === null) return new Counted([{ n: 1, t: 'unable to open file - No such file or directory' }], 1);
  const all = node.tasks.lines(task.upid) ?? [];
  const lag = node.tasks.end(task.upid) === null ? node.faults.take('log_lag') : null;
  const lines = lag === null ? all : all.slice(0, Math.max(0, all.length - lag.lines));
  const start = numberOf(params, 'start') ?? 0;
  const limit = numberOf(params, 'limit') ?? defaultLimit;
  const page = lines.slice(start, limit === 0 ? undefined : start + limit);
  return new Counted(
    page.map((t, index) => ({ n: start + index + 1, t })),
    lines.length,
  );
}

/** SIGTERM to the task's process group, SIGKILL when it takes longer than 5 s. Answers null whatever came of it. */
async function stopTask(call: Call): Promise<null> {
  const { node } = call;
  const task = ownTask(call, 'Sys.Modify');
  if (task === null) throw parameterError({ upid: 'no such task' });
  if (node.tasks.end(task.upid) !== null) return null;
  if (!task.worker) node.runner.abort(task.upid);
  else await endWorker(task, node);
  return null;
}

async function endWorker(task: TaskRecord, node: SimNode): Promise<void> {
  const mark = { pid: task.pid, startTime: task.pstart };
  if (!isAlive(mark)) return;
  signal(-task.pid, 'SIGTERM');
  const killAt = performance.now() + graceMs;
  while (isAlive(mark) && performance.now() < killAt) await delay(node.delays.workerStartMs > 0 ? 100 : 10);
  if (isAlive(mark)) signal(-task.pid, 'SIGKILL');
  while (isAlive(mark)) await delay(5);
}

/** The task of the path, if the caller may see it. Null: it never was. */
function ownTask({ node, caller, path }: Call, privilege: string): TaskRecord | null {
  const upid = path['upid'] ?? '';
  const fields = parseUpid(upid);
  if (fields === null) throw parameterError({ upid: 'unable to parse worker upid' });
  if (fields.user !== caller.id) require(caller, `/nodes/${node.name}`, privilege);
  return node.tasks.get(upid);
}

function owner(task: TaskRecord): { user: string; tokenid?: string } {
  const [user = '', tokenid] = task.user.split('!');
  return tokenid === undefined ? { user } : { user, tokenid };
}
