import { constants } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Failure } from '@felhom/kernel/failure.ts';
import { type Disk, type DiskFile, errorCode } from './disk.ts';
import { ensureFolder } from './state-folder.ts';
import { unwritable } from './unwritable.ts';

const readWrite = constants.O_RDWR | constants.O_CREAT | constants.O_NONBLOCK; // Non-blocking: a fifo must not hang us.

/**
 * Opens the file to be locked, 0600, and makes it and its folder (0700) when missing. Throws Failure
 * `refused` for a symbolic link or anything but a regular file, `state_unwritable` where it can be neither made nor opened.
 */
export async function openLockFile(path: string, disk: Disk): Promise<DiskFile> {
  try {
    return await openRegular(path, readWrite, disk);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return await makeLockFile(path, disk);
    // A disk that turned read-only still lets us lock what is there: recovery must go on.
    if (errorCode(error) === 'EROFS') return await openReadOnly(path, disk, error);
    throw explained(path, error);
  }
}

/** Whether the path still names the file that we opened. */
export async function isNamed(path: string, file: DiskFile): Promise<boolean> {
  const [opened, named] = [await file.stat(), await lstat(path).catch(() => null)];
  return named !== null && named.ino === opened.ino && named.dev === opened.dev;
}

async function makeLockFile(path: string, disk: Disk): Promise<DiskFile> {
  try {
    await ensureFolder(dirname(path), disk);
    return await openRegular(path, readWrite, disk);
  } catch (error) {
    throw explained(path, error);
  }
}

async function openReadOnly(path: string, disk: Disk, why: unknown): Promise<DiskFile> {
  try {
    return await openRegular(path, constants.O_RDONLY | constants.O_NONBLOCK, disk);
  } catch (error) {
    throw explained(path, errorCode(error) === 'ENOENT' ? why : error);
  }
}

async function openRegular(path: string, flags: number, disk: Disk): Promise<DiskFile> {
  const file = await disk.open(path, flags);
  if ((await file.stat()).isFile) return file;
  await file.close();
  throw notALockFile(path);
}

function explained(path: string, error: unknown): Failure {
  if (['ELOOP', 'EISDIR', 'ENXIO'].includes(errorCode(error))) return notALockFile(path, error);
  return unwritable(path, 'No lock was taken and nothing was started.', error);
}

function notALockFile(path: string, cause?: unknown): Failure {
  return new Failure('refused', {
    message: `${path} is not a regular file, so it is not used as a lock. Nothing was started.`,
    hint: `Look at it (ls -l ${path}) and remove it if nobody put it there on purpose.`,
    cause,
  });
}
