import { readFile } from 'node:fs/promises';

/** A line of /proc/PID/stat (proc(5)), as far as we use it. */
export interface ProcessStat {
  /** Field 3: `Z` and `X` are dead processes that nobody has reaped yet. */
  state: string;
  /** Field 5. */
  group: number;
  /** Field 22, in clock ticks since boot. */
  startTime: string;
}

/** What the kernel says of a process; null when there is none. */
export async function readProcessStat(pid: number): Promise<ProcessStat | null> {
  if (!Number.isInteger(pid) || pid <= 0) return null;
  let text: string;
  try {
    text = await readFile(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return null; // ENOENT, or ESRCH when it ends between open and read.
  }
  // The second field is the program's name in parentheses; it may itself hold blanks and parentheses.
  const [state, , group, ...rest] = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const startTime = rest[16];
  if (state === undefined || startTime === undefined) return null;
  return { state, group: Number(group), startTime };
}
