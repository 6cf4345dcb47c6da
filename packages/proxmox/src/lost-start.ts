import type { Clock } from '@felhom/kernel/clock.ts';
import { isPveFault, type PveError } from './errors.ts';
import type { PveTasks, TaskListItem } from './tasks.ts';
import type { Upid, Vmid } from './upid.ts';

/** What became of a start whose answer was lost. */
export type LostStart =
  /** The task that carries our mark. */
  | { kind: 'found'; upid: Upid; ended: boolean }
  /** No task carries it, and none can come any more. */
  | { kind: 'not-started' }
  /** It cannot be told yet: too soon, PVE does not answer, or a task has not said yet what it is. */
  | { kind: 'undecided'; why: string };

export interface LostStartQuestion {
  mark: string;
  vmid: Vmid;
  /** When the intent was recorded, by the node's clock. It only narrows the search; the mark decides. */
  sinceSeconds: number;
  /** How long ago the intent was recorded, in milliseconds. */
  intentAgeMs: number;
  /** Before this age "not started" is not concluded: PVE's proxy gives up after 30 s. Default 35 s. */
  certainAfterMs?: number | undefined;
}

export interface LostStartPorts {
  tasks: Pick<PveTasks, 'list' | 'log'>;
  clock: Clock;
}

/** Clocks of node and agent may differ by a little; the mark decides anyway. */
const clockMarginSeconds = 60;
/** The line that repeats the job's command stands first, or third after a wait for the node's lock. */
const headLines = 5;
const certainAfterDefaultMs = 35_000;

/**
 * One look for the task that carries the mark. Never throws for what PVE says.
 * The look must *begin* after `certainAfterMs` to conclude "not started".
 */
export async function findLostStart(
  tasks: LostStartPorts['tasks'],
  { mark, vmid, sinceSeconds, intentAgeMs, certainAfterMs = certainAfterDefaultMs }: LostStartQuestion,
  signal?: AbortSignal,
): Promise<LostStart> {
  try {
    const list = await tasks.list(
      { vmid, type: 'vzdump', sinceSeconds: sinceSeconds - clockMarginSeconds, source: 'all' },
      { signal },
    );
    let silent: Upid | null = null;
    for (const task of list) {
      const told = await whatTaskSays(tasks, task, mark, signal);
      if (told === 'ours') return { kind: 'found', upid: task.upid, ended: task.end !== null };
      if (told === 'nothing-yet') silent = task.upid;
    }
    if (silent !== null)
      return { kind: 'undecided', why: `the running task ${silent} has not said yet what it backs up` };
    if (intentAgeMs < certainAfterMs)
      return { kind: 'undecided', why: 'a start that is under way may still become a task' };
    return { kind: 'not-started' };
  } catch (error) {
    if (!isFailedLook(error)) throw error;
    return { kind: 'undecided', why: error.message };
  }
}

function isFailedLook(error: unknown): error is PveError {
  return isPveFault(error, 'transport', 'misbehaves', 'not-found', 'failed', 'aborted', 'lock-timeout');
}

async function whatTaskSays(
  tasks: LostStartPorts['tasks'],
  task: TaskListItem,
  mark: string,
  signal?: AbortSignal,
): Promise<'ours' | 'another' | 'nothing-yet'> {
  const head = await tasks.log(task.upid, { from: 1, limit: headLines, signal });
  const command = head.find(({ text }) => text.includes('starting new backup job: vzdump'));
  if (command !== undefined) return carriesMark(command.text, mark) ? 'ours' : 'another';
  // A task that ended before it said so backed nothing up: it is nobody's backup.
  return task.end === null ? 'nothing-yet' : 'another';
}

/** Whether the command in the log carries the mark: whole, not as part of a longer one. */
export function carriesMark(commandLine: string, mark: string): boolean {
  const at = commandLine.indexOf(mark);
  if (at < 0) return false;
  const before = commandLine[at - 1] ?? ' ';
  const after = commandLine[at + mark.length] ?? ' ';
  return /[\s'"=]/.test(before) && /[\s'"\\]/.test(after);
}

export interface ResolveOptions {
  signal?: AbortSignal | undefined;
  /** Between looks. Default 1 s. */
  everyMs?: number | undefined;
  /** After this much more time it stays undecided. Default 120 s. */
  giveUpAfterMs?: number | undefined;
}

/** Looks again and again until the start is found, is certainly none, or `giveUpAfterMs` has passed. */
export async function resolveLostStart(
  { tasks, clock }: LostStartPorts,
  question: LostStartQuestion,
  { signal, everyMs = 1_000, giveUpAfterMs = 120_000 }: ResolveOptions = {},
): Promise<LostStart> {
  const beganMs = clock.monotonicMs();
  for (;;) {
    const passedMs = clock.monotonicMs() - beganMs;
    const result = await findLostStart(
      tasks,
      { ...question, intentAgeMs: Math.max(0, question.intentAgeMs) + passedMs },
      signal,
    );
    if (result.kind !== 'undecided' || signal?.aborted === true || passedMs >= giveUpAfterMs) return result;
    await clock.sleep(everyMs, signal);
  }
}
