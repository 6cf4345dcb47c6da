import type { Caller } from '../auth.ts';
import { guestPid } from '../guests/guest-record.ts';
import type { TaskStore } from './task-store.ts';

/** Tasks that run inside the simulator: all but vzdump. What their body throws is the exit status. */
export interface TaskRunner {
  /** Starts at once and answers the UPID. */
  start(task: { type: string; id: string; caller: Caller }, body: (run: TaskRun) => Promise<void>): string;
  /** Asks a task to end; true when it is one of these and runs. */
  abort(upid: string): boolean;
}

export interface TaskRun {
  log: (line: string) => void;
  signal: AbortSignal;
}

/** Thrown by a body whose task ends without a last line, as a worker that was killed. */
export class UnexpectedEnd extends Error {
  override readonly name = 'UnexpectedEnd';
}

export function taskRunner(tasks: TaskStore, node: string): TaskRunner {
  const running = new Map<string, AbortController>();
  let next = 100_000;
  return {
    start: ({ type, id, caller }, body) => {
      next += 1;
      // No real process has such a number: nobody can signal somebody else's by mistake.
      const pid = guestPid(next);
      const started = Date.now();
      const fields = {
        node,
        pid,
        pstart: Math.floor(started / 10) % 0xffff_ffff,
        starttime: Math.floor(started / 1000),
        type,
        id,
        user: caller.id,
      };
      const { upid } = tasks.create(fields, false);
      const abort = new AbortController();
      running.set(upid, abort);
      void run(upid, body, abort.signal).finally(() => running.delete(upid));
      return upid;
    },
    abort: (upid) => {
      running.get(upid)?.abort();
      return running.has(upid);
    },
  };

  async function run(upid: string, body: (run: TaskRun) => Promise<void>, signal: AbortSignal): Promise<void> {
    try {
      await body({ log: (line) => tasks.append(upid, line), signal });
      tasks.finish(upid, 'OK');
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      tasks.finish(upid, error instanceof UnexpectedEnd ? 'unexpected status' : text);
    }
  }
}
