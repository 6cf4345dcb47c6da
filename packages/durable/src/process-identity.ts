import { readFile } from 'node:fs/promises';

/**
 * When a process started, in clock ticks since boot: field 22 of /proc/PID/stat (proc(5)). With the
 * pid it names one process of this boot. Null: there is none, or it is dead and not yet reaped.
 */
export async function processStartTime(pid: number): Promise<string | null> {
  const fields = await statFields(pid);
  const state = fields?.[0];
  if (fields === null || state === 'Z' || state === 'X') return null;
  return fields[19] ?? null;
}

/** The process group of a process, or null when it is gone (field 5 of /proc/PID/stat). */
export async function processGroup(pid: number): Promise<number | null> {
  const group = Number((await statFields(pid))?.[2]);
  return Number.isInteger(group) && group > 0 ? group : null;
}

/** Whether exactly this process still lives: a reused pid has another start time. */
export async function isAlive(process: { pid: number; startTime: string }): Promise<boolean> {
  return (await processStartTime(process.pid)) === process.startTime;
}

/** The fields from the third on. The second is the program's name, which may hold blanks and parentheses. */
async function statFields(pid: number): Promise<string[] | null> {
  if (!Number.isInteger(pid) || pid <= 0) return null;
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).trim().split(' ');
  } catch {
    return null; // ENOENT, or ESRCH when it ends between open and read.
  }
}
