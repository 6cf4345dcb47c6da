import type { Clock } from '@felhom/kernel/clock.ts';
import { isPveFault, PveError } from './errors.ts';
import { createPace, type Pace, type PaceOptions } from './pace.ts';
import type { LogLine, PveTasks, TaskEnd } from './tasks.ts';
import type { Upid } from './upid.ts';

/**
 * Follows one task to its end: its log line by line, its status when the log says that it ended or
 * at intervals. Invariants: a poll that fails says nothing about the task and is repeated; only a
 * terminal status ends the following; every line is handed on once, in order, before the end is.
 */
export interface FollowPorts {
  tasks: Pick<PveTasks, 'log' | 'status'>;
  clock: Clock;
}

export interface FollowOptions {
  /** The first line to hand on. Default 1. */
  fromLine?: number | undefined;
  /** New lines, in order, never twice. Awaited, so that what they mean is durable before the next poll. */
  onLines?: ((lines: readonly LogLine[]) => void | Promise<void>) | undefined;
  /** A poll failed: unknown, not failed. */
  onPollFailed?: ((error: unknown) => void) | undefined;
  /** Ends the following, not the task. */
  signal?: AbortSignal | undefined;
  pace?: PaceOptions | undefined;
  /** Handed the pace at the start, for a caller who knows when something is about to happen. */
  onPace?: ((pace: Pace) => void) | undefined;
  /** Bound of each poll. Default 5 s. */
  pollTimeoutMs?: number | undefined;
  /** The status is asked at least this often. Default 2 s. */
  statusEveryMs?: number | undefined;
}

export type FollowEnd =
  /** `reason` is the exit status, or for `job errors` and a dead worker what the log says. */
  | { kind: 'ended'; end: TaskEnd; reason: string | null }
  /** PVE says there is no such task. */
  | { kind: 'no-such-task' }
  /** The signal ended the following; the task may still run. */
  | { kind: 'aborted' };

const pageLines = 500;

/** Follows the task until it ends or `signal` aborts. Never throws for a failed poll; rights that are missing throw PveError. */
export async function followTask({ tasks, clock }: FollowPorts, upid: Upid, options: FollowOptions = {}): Promise<FollowEnd> {
  const { signal, onLines, pollTimeoutMs = 5_000, statusEveryMs = 2_000 } = options;
  const pace = createPace(clock.monotonicMs(), options.pace);
  options.onPace?.(pace);
  const call = { signal, timeoutMs: pollTimeoutMs };
  let next = options.fromLine ?? 1;
  let lastError: string | null = null;
  let statusDueMs = clock.monotonicMs() + statusEveryMs;

  /** Hands on what is new. Tells how many lines came and whether the log has its last line. */
  const readLog = async (): Promise<{ count: number; ended: boolean }> => {
    const lines = (await tasks.log(upid, { ...call, from: next, limit: pageLines })).filter(({ n }) => n >= next);
    const last = lines.at(-1);
    if (last === undefined) return { count: 0, ended: false };
    next = last.n + 1;
    lastError = lines.findLast(({ text }) => text.startsWith('ERROR: '))?.text.slice('ERROR: '.length) ?? lastError;
    await onLines?.(lines);
    return { count: lines.length, ended: /^TASK (?:OK|ERROR: |WARNINGS: )/.test(last.text) };
  };

  const poll = async (): Promise<FollowEnd | null> => {
    const { count, ended } = await readLog();
    if (count > 0) pace.quicken(clock.monotonicMs());
    if (!ended && clock.monotonicMs() < statusDueMs) return null;
    const { end } = await tasks.status(upid, call);
    statusDueMs = clock.monotonicMs() + statusEveryMs;
    if (end === null) return null;
    // Lines written between our last look at the log and the end.
    while ((await readLog()).count > 0);
    return { kind: 'ended', end, reason: endReason(end, lastError) };
  };

  while (signal?.aborted !== true) {
    try {
      const done = await poll();
      if (done !== null) return done;
    } catch (error) {
      if (isPveFault(error, 'not-found')) return { kind: 'no-such-task' };
      if (!(error instanceof PveError) || isPveFault(error, 'auth', 'permission', 'tls-identity')) throw error;
      if (!isPveFault(error, 'aborted')) options.onPollFailed?.(error);
    }
    await clock.sleep(pace.waitMs(clock.monotonicMs()), signal);
  }
  return { kind: 'aborted' };
}

/** `job errors` and "unexpected status" hide the reason, which the log's last ERROR line tells. */
function endReason(end: TaskEnd, lastError: string | null): string | null {
  if (end.kind === 'ok') return null;
  return end.died || end.reason === 'job errors' ? (lastError ?? end.reason) : end.reason;
}
