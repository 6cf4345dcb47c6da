import { z } from 'zod';
import { classifyText } from './classify.ts';
import { PveError, type PveFault } from './errors.ts';
import { type CallOptions, type PveHttp, pvePath } from './http.ts';
import { parseUpid, tryVmid, type Upid, upidSchema, type Vmid } from './upid.ts';
import { nothing, optionalNumber, optionalText, wireNumber } from './wire.ts';

/** How a task ended. `WARNINGS: N` is a success (pve-common, UPID.pm:89). */
export type TaskEnd =
  | { kind: 'ok'; warnings: number }
  /** `reason` is the exit status, one line. `died`: the worker ended without one ("unexpected status"). */
  | { kind: 'failed'; reason: string; died: boolean; fault: PveFault };

export interface TaskStatus {
  upid: Upid;
  type: string;
  /** The guest, or null for tasks over several guests and about something else. */
  vmid: Vmid | null;
  user: string;
  /** The node's clock. */
  startSeconds: number;
  /** null while the task runs. */
  end: TaskEnd | null;
}

export interface TaskListItem extends TaskStatus {
  /** The node's clock; null while the task runs. */
  endSeconds: number | null;
}

/** A line of a task's log; `n` counts from 1. */
export interface LogLine {
  n: number;
  text: string;
}

export interface TaskFilter {
  vmid?: Vmid | undefined;
  type?: string | undefined;
  /** Only tasks that started at or after this, by the node's clock. */
  sinceSeconds?: number | undefined;
  /** `active`: running ones; `archive` (PVE's default): finished ones. Default here: `all`. */
  source?: 'all' | 'active' | 'archive' | undefined;
  /** Default 500. */
  limit?: number | undefined;
}

export interface PveTasks {
  /** Fault `not-found`: no such task. `permission`: a task of another token without Sys.Audit. */
  status(upid: Upid, options?: CallOptions): Promise<TaskStatus>;
  /**
   * Lines from line number `from` on (1 is the first), at most `limit` (default 500). Past the end: none.
   * The log of a task that never was is one line ("unable to open file"): ask its status.
   */
  log(upid: Upid, options?: CallOptions & { from?: number; limit?: number }): Promise<LogLine[]>;
  /** Newest first. Without Sys.Audit only the token's own. */
  list(filter?: TaskFilter, options?: CallOptions): Promise<TaskListItem[]>;
  /**
   * SIGTERM to the task's process group, up to 5 s later SIGKILL. Says nothing about the end, and
   * succeeds for tasks that ended long ago: follow the task. A stop-mode vzdump killed while
   * it restarts its guest leaves the guest down.
   */
  stop(upid: Upid, options?: CallOptions): Promise<void>;
}

const statusSchema = z.object({
  upid: upidSchema,
  type: z.string(),
  id: z.string().nullish(),
  user: z.string(),
  tokenid: z.string().nullish(),
  starttime: wireNumber,
  status: z.string(),
  exitstatus: optionalText,
});
const listSchema = z.array(
  z.object({
    upid: upidSchema,
    type: z.string(),
    id: z.string().nullish(),
    user: z.string(),
    tokenid: z.string().nullish(),
    starttime: wireNumber,
    endtime: optionalNumber,
    status: optionalText,
  }),
);
const logSchema = z.array(z.object({ n: wireNumber, t: z.string().nullish() }));
const defaultLimit = 500;

/** The tasks of `node`. A UPID names its own node, and the task is asked there. */
export function pveTasks(http: PveHttp, node: string): PveTasks {
  const taskPath = (upid: Upid): string => pvePath`/nodes/${parseUpid(upid).node}/tasks/${upid}`;
  return {
    status: async (upid, options = {}) => {
      const { data } = await http.call({
        method: 'GET',
        path: `${taskPath(upid)}/status`,
        schema: statusSchema,
        ...options,
      });
      return { ...identity(data), end: data.status === 'stopped' ? readTaskEnd(data.exitstatus ?? '') : null };
    },
    log: async (upid, { from = 1, limit = defaultLimit, ...options } = {}) => {
      const call = {
        method: 'GET',
        path: `${taskPath(upid)}/log`,
        params: { start: from - 1, limit },
        schema: logSchema,
      } as const;
      const { data } = await http.call({ ...call, ...options });
      return data.filter(({ n }) => n >= from).map(({ n, t }) => ({ n, text: t ?? '' }));
    },
    list: async ({ vmid, type, sinceSeconds, source = 'all', limit = defaultLimit } = {}, options = {}) => {
      const since = sinceSeconds === undefined ? undefined : Math.max(0, Math.floor(sinceSeconds));
      const params = { vmid, typefilter: type, since, source, limit };
      const { data } = await http.call({
        method: 'GET',
        path: pvePath`/nodes/${node}/tasks`,
        params,
        schema: listSchema,
        ...options,
      });
      return data.map(toListItem).toSorted((a, b) => b.startSeconds - a.startSeconds);
    },
    stop: async (upid, options = {}) => {
      await http.call({ method: 'DELETE', path: taskPath(upid), schema: nothing, ...options });
    },
  };
}

/** A running task of the active list has no end time and no status, or the status `RUNNING`. */
function toListItem(item: z.infer<typeof listSchema>[number]): TaskListItem {
  const ended = item.endtime !== null && item.status !== null;
  return { ...identity(item), endSeconds: item.endtime, end: ended ? readTaskEnd(item.status ?? '') : null };
}

interface Identity {
  upid: Upid;
  type: string;
  id?: string | null | undefined;
  user: string;
  tokenid?: string | null | undefined;
  starttime: number;
}

function identity(item: Identity): Omit<TaskStatus, 'end'> {
  const token = item.tokenid ?? '';
  return {
    upid: item.upid,
    type: item.type,
    vmid: tryVmid((item.id ?? '').split('@')[0]),
    user: token === '' || item.user.includes('!') ? item.user : `${item.user}!${token}`,
    startSeconds: item.starttime,
  };
}

/** The meaning of an exit status. */
export function readTaskEnd(exitStatus: string): TaskEnd {
  if (exitStatus === 'OK') return { kind: 'ok', warnings: 0 };
  const warnings = /^WARNINGS: (\d+)$/.exec(exitStatus);
  if (warnings !== null) return { kind: 'ok', warnings: Number(warnings[1]) };
  const reason = exitStatus.trim() === '' ? 'unexpected status' : exitStatus.trim();
  return { kind: 'failed', reason, died: reason === 'unexpected status', fault: classifyText(reason) };
}

/** The PveError of a task that failed, for those who only wanted its effect. */
export function taskError(upid: Upid, end: Extract<TaskEnd, { kind: 'failed' }>): PveError {
  const { type, id } = parseUpid(upid);
  return new PveError({ fault: end.fault, call: `task ${type}${id === '' ? '' : ` ${id}`}`, text: end.reason });
}
