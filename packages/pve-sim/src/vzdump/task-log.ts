import { appendFileSync } from 'node:fs';
import type { TaskStore } from '../tasks/task-store.ts';

/** The log of one vzdump task, and of the guest at hand (its own log file, which ends up beside the archive). */
export interface TaskLog {
  info(text: string): void;
  warn(text: string): void;
  error(text: string): void;
  /** A line without a level, as Perl's own warnings appear. */
  bare(text: string): void;
  warnings(): number;
  /** From now on lines also go to this file; null ends that. */
  guestFile(path: string | null): void;
}

export function openTaskLog(tasks: TaskStore, upid: string): TaskLog {
  let warnings = 0;
  let file: string | null = null;
  const write = (line: string): void => {
    tasks.append(upid, line);
    if (file !== null) appendFileSync(file, `${line}\n`);
  };
  return {
    info: (text) => write(`INFO: ${text}`),
    warn: (text) => {
      warnings += 1;
      write(`WARN: ${text}`);
    },
    error: (text) => write(`ERROR: ${text}`),
    bare: write,
    warnings: () => warnings,
    guestFile: (path) => {
      file = path;
    },
  };
}
