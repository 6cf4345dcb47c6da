import { spawn } from 'node:child_process';
import type { Clock } from '@felhom/kernel/clock.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { type Disk, type DiskFile, systemDisk } from './disk.ts';
import { isNamed, openLockFile } from './lock-file.ts';
import { type LockHolder, readLockHolder } from './lock-holder.ts';
import { readProcessStat } from './process-stat.ts';

export type { LockHolder } from './lock-holder.ts';

/*
 * Invariants
 * - Held means: the kernel holds a flock on the inode that the path names. Nothing else, no pid, no age, ever means held.
 * - The kernel frees it when the last descriptor is closed: ours, and those of the children that inherited it.
 *   So release() only closes, and never unlocks: children that are still at work keep others out.
 * - The lock file is never removed or renamed: two processes could then hold "the" lock on two inodes.
 * - What is written in the file is for people and for ending a hung holder; a lock whose file cannot be written
 *   (full disk, read-only) is a lock all the same, because recovery must work there.
 */

/** Keeps the open files of held locks reachable: a file handle that nobody refers to is closed by the garbage collector. */
const held = new Set<DiskFile>();

const flock = '/usr/bin/flock';
const lockedByAnother = 1;
const maxReopens = 5;

export interface RunLock {
  /** Inherited by children through `inheritFds`: they hold the lock with us. */
  readonly fd: number;
  /** Tells others something new of the holder (its deadline). Never throws for a full or read-only disk. */
  update(holder: LockHolder): Promise<void>;
  /** Gives it back as far as we hold it. Twice is fine. */
  release(): Promise<void>;
}

export type Acquired = { kind: 'held-by-us'; lock: RunLock } | { kind: 'busy'; holder: LockHolder | null };

/**
 * Takes the lock at `path` or says who has it; never waits. The folder is made 0700, the file 0600;
 * a symbolic link or anything but a regular file is refused. Costs one start of flock(1), 2 ms.
 * Throws Failure `state_unwritable`, or `refused` for a path that is no lock file.
 */
export async function acquireRunLock(path: string, holder: LockHolder, disk: Disk = systemDisk): Promise<Acquired> {
  return await acquireWithin(path, holder, { waitMs: 0, disk });
}

/**
 * The same, but waits up to `waitMs` in the kernel's own queue: for locks that are held for milliseconds by
 * processes that all want them, where trying again and again would starve one.
 */
export async function acquireWithin(
  path: string,
  holder: LockHolder,
  { waitMs, disk = systemDisk }: { waitMs: number; disk?: Disk },
): Promise<Acquired> {
  for (let attempt = 0; attempt < maxReopens; attempt += 1) {
    const file = await openLockFile(path, disk);
    let keep = false;
    try {
      if (!(await tryFlock(file.fd, path, waitMs))) return { kind: 'busy', holder: await readLockHolder(path, disk) };
      if (!(await isNamed(path, file))) continue;
      const lock = lockOn(file);
      await lock.update(holder);
      keep = true;
      return { kind: 'held-by-us', lock };
    } finally {
      if (!keep) await file.close();
    }
  }
  throw new Failure('refused', {
    message: `the lock file ${path} is replaced again and again. Nothing was started.`,
    hint: 'Find out what removes files in that folder; the lock file must stay.',
  });
}

export interface WaitOptions {
  /** On the clock's monotonic scale: when to give up. One try is always made. */
  deadlineMs: number;
  clock: Clock;
  signal?: AbortSignal;
}

const firstPauseMs = 20;
const longestPauseMs = 500;

/** Takes the lock, trying again until the deadline or the signal; then answers `busy` as acquireRunLock does. */
export async function waitForLock(
  path: string,
  holder: LockHolder,
  { deadlineMs, clock, signal }: WaitOptions,
): Promise<Acquired> {
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
    const acquired = await acquireRunLock(path, holder);
    const leftMs = deadlineMs - clock.monotonicMs();
    if (acquired.kind === 'held-by-us' || leftMs <= 0 || signal?.aborted === true) return acquired;
    await clock.sleep(Math.min(pauseMs, leftMs), signal);
  }
}

/** Runs flock(1) on our open file: the lock belongs to the open file, so it outlives flock and is ours. */
async function tryFlock(fd: number, path: string, waitMs: number): Promise<boolean> {
  const patience = waitMs > 0 ? ['-w', String(waitMs / 1_000)] : ['-n'];
  const { code, text } = await new Promise<{ code: number | null; text: string }>((resolve) => {
    const child = spawn(flock, [...patience, '-x', '3'], {
      stdio: ['ignore', 'ignore', 'pipe', fd],
      env: {},
      detached: true,
    });
    let stderr = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      stderr += chunk.toString('utf8');
    });
    child.on('error', (error) => resolve({ code: null, text: error.message }));
    child.on('close', (exitCode) => resolve({ code: exitCode, text: stderr.trim() }));
  });
  if (code === 0) return true;
  if (code === lockedByAnother) return false;
  throw new Failure('operation_failed', {
    message: `${path} could not be locked: ${text === '' ? `flock ended with ${code}` : text}. Nothing was started.`,
    hint: 'flock(1) of util-linux must be at /usr/bin/flock, and the folder on a local file system.',
  });
}

function lockOn(file: DiskFile): RunLock {
  held.add(file);
  const say = async (text: string): Promise<void> => {
    const bytes = Buffer.from(text);
    try {
      const written = await file.write(bytes, 0);
      await file.truncate(written === bytes.length ? written : 0);
    } catch {
      await file.truncate(0).catch(() => undefined); // Full or read-only: better no holder than the last one's.
    }
  };
  return {
    fd: file.fd,
    update: async (holder) => {
      if (held.has(file)) await say(`${JSON.stringify(holder)}\n`);
    },
    release: async () => {
      if (!held.delete(file)) return;
      await file.truncate(0).catch(() => undefined); // On a read-only disk the old text stays; it says nothing.
      await file.close();
    },
  };
}

/**
 * When a process started (field 22 of /proc/PID/stat): with the pid it names one process of this
 * boot. Null: there is none, or it is dead and not reaped yet.
 */
export async function processStartTime(pid: number): Promise<string | null> {
  const stat = await readProcessStat(pid);
  return stat === null || stat.state === 'Z' || stat.state === 'X' ? null : stat.startTime;
}

/** Whether exactly this process still lives: a reused pid has another start time. */
export async function isAlive(holder: { pid: number; startTime: string }): Promise<boolean> {
  return (await processStartTime(holder.pid)) === holder.startTime;
}
