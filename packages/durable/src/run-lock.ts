import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '@felhom/kernel/clock.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { type Disk, type DiskFile, errorCode, systemDisk } from './disk.ts';
import { type LockHolder, readLockHolder } from './lock-holder.ts';
import { ensureFolder } from './state-folder.ts';
import { unwritable } from './unwritable.ts';

export type { LockHolder } from './lock-holder.ts';
export { readLockHolder } from './lock-holder.ts';
export { isAlive, processStartTime } from './process-identity.ts';

/*
 * Invariants
 * - Held means: the kernel holds a flock on the inode that the path names. Nothing else, no pid, no age, ever means held.
 * - The kernel frees it when the last descriptor is closed: ours, and those of the children that inherited it.
 *   So release() only closes, and never unlocks: children that are still at work keep others out.
 * - The lock file is never removed or renamed: two processes could then hold "the" lock on two inodes.
 * - What is written in the file is for people and for ending a hung holder; a lock whose file cannot be written
 *   (full disk, read-only) is a lock all the same, because recovery must work there.
 */

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
  for (let attempt = 0; attempt < maxReopens; attempt += 1) {
    const file = await openLockFile(path, disk);
    let keep = false;
    try {
      if (!(await tryFlock(file.fd, path))) return { kind: 'busy', holder: await readLockHolder(path, disk) };
      if (!(await isStillThere(path, file))) continue;
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

async function openLockFile(path: string, disk: Disk): Promise<DiskFile> {
  try {
    return await openRegular(path, constants.O_RDWR | constants.O_CREAT | constants.O_NONBLOCK, disk);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') {
      return await makeLockFile(path, disk);
    }
    // A disk that turned read-only still lets us lock what is there.
    if (errorCode(error) === 'EROFS') return await openRegular(path, constants.O_RDONLY, disk).catch(() => fail(path, error));
    return fail(path, error);
  }
}

async function makeLockFile(path: string, disk: Disk): Promise<DiskFile> {
  try {
    await ensureFolder(dirname(path), disk);
    return await openRegular(path, constants.O_RDWR | constants.O_CREAT, disk);
  } catch (error) {
    return fail(path, error);
  }
}

async function openRegular(path: string, flags: number, disk: Disk): Promise<DiskFile> {
  const file = await disk.open(path, flags);
  if ((await file.stat()).isFile) return file;
  await file.close();
  throw notALockFile(path);
}

function fail(path: string, error: unknown): never {
  if (errorCode(error) === 'ELOOP' || errorCode(error) === 'EISDIR') throw notALockFile(path, error);
  throw unwritable(path, 'No lock was taken and nothing was started.', error);
}

function notALockFile(path: string, cause?: unknown): Failure {
  return new Failure('refused', {
    message: `${path} is not a regular file, so it is not used as a lock. Nothing was started.`,
    hint: `Look at it (ls -l ${path}) and remove it if nobody put it there on purpose.`,
    cause,
  });
}

async function isStillThere(path: string, file: DiskFile): Promise<boolean> {
  const [opened, named] = [await file.stat(), await lstat(path).catch(() => null)];
  return named !== null && named.ino === opened.ino && named.dev === opened.dev;
}

/** Runs flock(1) on our open file: the lock belongs to the open file, so it outlives flock and is ours. */
async function tryFlock(fd: number, path: string): Promise<boolean> {
  const { code, text } = await new Promise<{ code: number | null; text: string }>((resolve) => {
    const child = spawn(flock, ['-n', '-x', '3'], { stdio: ['ignore', 'ignore', 'pipe', fd], env: {}, detached: true });
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
  let open = true;
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
      if (open) await say(`${JSON.stringify(holder)}\n`);
    },
    release: async () => {
      if (!open) return;
      open = false;
      await file.truncate(0).catch(() => undefined); // On a read-only disk the old text stays; it says nothing.
      await file.close();
    },
  };
}
