import { readdir, readFile, stat } from 'node:fs/promises';
import { readProcessStat } from './process-stat.ts';

/** A process that keeps a lock from us. */
export interface LockProcess {
  pid: number;
  /**
   * Its process group: what is signalled to end it with everything that it started. 0 (of another pid namespace) and 1
   * are told as they are and must never be signalled: `kill(-1)` means every process.
   */
  group: number;
  startTime: string;
}

/**
 * The living processes that hold the flock on `path`: the holder, and the children that inherited
 * its descriptor and outlived it. One that merely has the file open does not count: the kernel
 * tells by the `lock:` line of /proc/PID/fdinfo/FD. We ourselves are left out. Empty where nobody
 * holds it, or where we may not look (not root).
 */
export async function lockProcesses(path: string): Promise<LockProcess[]> {
  const target = await stat(path).catch(() => null); // No lock file: nobody holds it.
  if (target === null) return [];
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const holding = await Promise.all(
    pids.filter((pid) => pid !== process.pid).map((pid) => holds(pid, target).then((yes) => (yes ? [pid] : []))),
  );
  const found = await Promise.all(holding.flat().map(describe));
  return found.filter((one) => one !== null);
}

async function holds(pid: number, target: { dev: number; ino: number }): Promise<boolean> {
  const fds = await readdir(`/proc/${pid}/fd`).catch(() => []); // It ended, or it is another user's.
  const found = await Promise.all(fds.map((fd) => isLockedHere(pid, fd, target)));
  return found.includes(true);
}

async function isLockedHere(pid: number, fd: string, target: { dev: number; ino: number }): Promise<boolean> {
  const info = await readFile(`/proc/${pid}/fdinfo/${fd}`, 'utf8').catch(() => ''); // Closed meanwhile.
  const inode = /^lock:.*\bFLOCK\b.*:(\d+) /m.exec(info)?.[1]; // "1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF"
  if (inode !== String(target.ino)) return false;
  const opened = await stat(`/proc/${pid}/fd/${fd}`).catch(() => null); // Closed meanwhile.
  return opened !== null && opened.ino === target.ino && opened.dev === target.dev;
}

async function describe(pid: number): Promise<LockProcess | null> {
  const seen = await readProcessStat(pid);
  return seen === null ? null : { pid, group: seen.group, startTime: seen.startTime };
}
