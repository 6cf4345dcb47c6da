import type { Clock } from '@felhom/kernel/clock.ts';
import { PveError } from './errors.ts';
import { readableFailure, readComplaint } from './failure-text.ts';
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
  onPollFailed?: ((error: PveError) => void) | undefined;
  /** Ends the following, not the task. */
  signal?: AbortSignal | undefined;
  pace?: PaceOptions | undefined;
  /** Handed the pace at the start, for a caller who knows when something is about to happen. */
  onPace?: ((pace: Pace) => void) | undefined;
  /** Bound of each poll. Default 5 s. */
  pollTimeoutMs?: number | undefined;
  /** The status is asked this often, and at once when the log looks like its end. Default 500 ms. */
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
/** A task's end (the text of an error may take more lines), and the line after which vzdump exits without one (API2/VZDump.pm:144). */
const lastLine = /^(?:TASK (?:OK|ERROR: |WARNINGS: )|ERROR: can't acquire lock ')/;
/** "No such task" is believed after this many answers in a row. */
const believedMissing = 3;

/**
 * Follows the task until it ends or `signal` aborts. Never throws for what PVE says or does not say:
 * even a refused token is a failed poll, because the task goes on without us. What `onLines` throws is thrown.
 */
export async function followTask(ports: FollowPorts, upid: Upid, options: FollowOptions = {}): Promise<FollowEnd> {
  const { clock } = ports;
  const { signal } = options;
  const pace = createPace(clock.monotonicMs(), options.pace);
  options.onPace?.(pace);
  const poll = createPoll(ports, upid, options);
  let missing = 0;
  for (;;) {
    if (signal?.aborted === true) return { kind: 'aborted' };
    const look = await poll();
    if (look.kind === 'failed') {
      missing = saysNoSuchTask(look.error) ? missing + 1 : 0;
      if (missing >= believedMissing) return { kind: 'no-such-task' };
      if (look.error.fault.kind !== 'aborted') options.onPollFailed?.(look.error);
    } else {
      missing = 0;
      await handOn(look.lines, options, () => pace.quicken(clock.monotonicMs()));
      if (look.end !== null) return look.end;
    }
    await clock.sleep(pace.waitMs(clock.monotonicMs()), signal);
  }
}

async function handOn(lines: readonly LogLine[], { onLines }: FollowOptions, quicken: () => void): Promise<void> {
  if (lines.length === 0) return;
  quicken();
  await onLines?.(lines);
}

type Look =
  | { kind: 'looked'; lines: readonly LogLine[]; end: Extract<FollowEnd, { kind: 'ended' }> | null }
  | { kind: 'failed'; error: PveError };

/** One look at the log and, when due, at the status. Lines are never lost to a look that fails half-way. */
function createPoll({ tasks, clock }: FollowPorts, upid: Upid, options: FollowOptions): () => Promise<Look> {
  const { signal, pollTimeoutMs = 5_000, statusEveryMs = 500 } = options;
  const call = { signal, timeoutMs: pollTimeoutMs };
  let unread: LogLine[] = [];
  let next = options.fromLine ?? 1;
  let lastError: string | null = null;
  let complaint: string | null = null;
  let statusDueMs = clock.monotonicMs() + statusEveryMs;
  let finishing = false;

  /** Reads what is new and tells whether something was. */
  const readLog = async (): Promise<boolean> => {
    const lines = (await tasks.log(upid, { ...call, from: next, limit: pageLines })).filter(({ n }) => n >= next);
    const last = lines.at(-1);
    if (last === undefined) return false;
    // The log of a task that is not there is this one line; its status tells for certain.
    if (last.n === 1 && last.text.startsWith('unable to open file')) {
      finishing = true;
      return false;
    }
    unread.push(...lines);
    next = last.n + 1;
    for (const { text } of lines) {
      complaint = readComplaint(text) ?? complaint;
      if (text.startsWith('ERROR: ')) lastError = readableFailure(text.slice('ERROR: '.length), complaint);
    }
    finishing ||= lines.some(({ text }) => lastLine.test(text));
    return true;
  };

  const readEnd = async (): Promise<TaskEnd | null> => {
    if (!finishing && clock.monotonicMs() < statusDueMs) return null;
    const { end } = await tasks.status(upid, call);
    statusDueMs = clock.monotonicMs() + statusEveryMs;
    // Lines written between our last look at the log and the end.
    if (end !== null) for (let more = true; more; ) more = await readLog();
    return end;
  };

  const look = async (): Promise<Look> => {
    await readLog();
    // While apps wait for a line, a status that hangs must not keep lines back that are in hand.
    const end = finishing || unread.length === 0 ? await readEnd() : null;
    const lines = unread;
    unread = [];
    return {
      kind: 'looked',
      lines,
      end: end === null ? null : { kind: 'ended', end, reason: endReason(end, lastError) },
    };
  };

  return () =>
    look().catch((error: unknown) => {
      if (error instanceof PveError) return { kind: 'failed', error };
      throw error;
    });
}

function saysNoSuchTask(error: PveError): boolean {
  return error.fault.kind === 'not-found' && error.status === 400;
}

/** `job errors` and "unexpected status" hide the reason, which the log's last ERROR line tells. */
function endReason(end: TaskEnd, lastError: string | null): string | null {
  if (end.kind === 'ok') return null;
  return end.died || end.reason === 'job errors' ? (lastError ?? end.reason) : end.reason;
}
