import { constants } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import { type Disk, errorCode, systemDisk } from './disk.ts';

/*
 * Invariants
 * - At every instant the path holds the whole old text or the whole new text, or nothing if there was nothing.
 * - When replaceFile resolves, the new text survives a power cut: the file is synced before the rename, its folder after.
 * - A write that does not fit leaves the old text. write-file-atomic does not notice short writes, so it is given no
 *   data: its awaited hook fills and syncs the temporary file, and whatever the hook throws ends it before the rename.
 * - Files are 0600, whatever the umask or the mode of the file that was there, unless the caller names a mode. Mode and
 *   owner are the new file's before it takes its place.
 */

const ourMode = 0o600;
const abandonedAfterMs = 60_000;
/** How write-file-atomic names its temporary files: the name, a dot, 32 bits in decimal. */
const temporaryName = /\.jsonl?\.\d{1,10}$/;

/** Steps into a replacement: awaited when the temporary file is whole and synced, before the rename. */
export type BeforeRename = () => Promise<void>;

/** What a file is to hold. Text is written as UTF-8. */
export type Content = string | Uint8Array;

export interface ReplaceOptions {
  /** Permission bits. Default 0600. */
  mode?: number;
  /** Default: that of the file that was there, or ours. Another one takes root. */
  owner?: { uid: number; gid: number };
  disk?: Disk;
}

/** Replaces the whole file, durably. Throws the error of the system call that failed (ENOSPC, EROFS, EACCES, EIO). */
export async function replaceFile(path: string, content: Content, options: ReplaceOptions = {}): Promise<void> {
  await renameInto(path, content, options, async () => undefined);
  await (options.disk ?? systemDisk).syncDirectory(dirname(path));
}

/**
 * Replaces several files of one folder: none of them unless the new text of every one of them is
 * whole on the disk. Only then are they renamed, each by itself.
 */
export async function replaceFiles(
  folder: string,
  files: ReadonlyMap<string, Content>,
  disk: Disk = systemDisk,
): Promise<void> {
  const allFilled = meetingPoint(files.size);
  const replacements = [...files].map(async ([name, content]) => {
    try {
      await renameInto(join(folder, name), content, { disk }, allFilled.arrive);
    } catch (error) {
      allFilled.abandon(error);
      throw error;
    }
  });
  const ends = await Promise.allSettled(replacements);
  const failed = ends.find((end) => end.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  await disk.syncDirectory(folder);
}

async function renameInto(
  path: string,
  content: Content,
  { mode = ourMode, owner, disk = systemDisk }: ReplaceOptions,
  beforeRename: BeforeRename,
): Promise<void> {
  await writeFileAtomic(path, null, {
    mode,
    ...(owner === undefined ? {} : { chown: owner }),
    fsync: false,
    tmpfileCreated: async (temporary) => {
      await fill(temporary, content, disk);
      await beforeRename();
    },
  });
}

async function fill(temporary: string, content: Content, disk: Disk): Promise<void> {
  const file = await disk.open(temporary, constants.O_WRONLY);
  try {
    await file.writeAll(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** A point that lets everybody pass when `count` have arrived, and nobody once one of them gave up. */
function meetingPoint(count: number): { arrive: BeforeRename; abandon: (why: unknown) => void } {
  let missing = count;
  const { promise, resolve, reject } = withResolvers();
  promise.catch(() => undefined); // Whoever arrives sees the rejection; nobody may arrive at all.
  return {
    arrive: () => {
      missing -= 1;
      if (missing === 0) resolve();
      return promise;
    },
    abandon: reject,
  };
}

/** Promise.withResolvers, which Node 20 does not have. */
function withResolvers(): { promise: Promise<void>; resolve: () => void; reject: (why: unknown) => void } {
  let resolve: () => void = () => undefined;
  let reject: (why: unknown) => void = () => undefined;
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** Removes the file, durably. A file that is absent is fine. */
export async function removeFile(path: string, disk: Disk = systemDisk): Promise<void> {
  if (await disk.remove(path)) await disk.syncDirectory(dirname(path));
}

/**
 * Removes the temporary files that killed processes left in `folder`. Only those untouched for a
 * minute: a younger one may belong to a replacement that another process has under way.
 */
export async function sweepTemporaries(folder: string, nowMs = Date.now(), disk: Disk = systemDisk): Promise<void> {
  for (const name of await namesIn(folder)) {
    if (!temporaryName.test(name)) continue;
    const path = join(folder, name);
    const seen = await lstat(path).catch(() => null); // Gone meanwhile: its owner finished.
    if (seen?.isFile() !== true || nowMs - seen.mtimeMs < abandonedAfterMs) continue;
    await disk.remove(path);
  }
}

/**
 * Removes every temporary file of names that begin with `prefix`, however young: only for whoever holds the lock under
 * which they are written. Durable with the next sync of the folder.
 */
export async function removeTemporaries(folder: string, prefix: string, disk: Disk = systemDisk): Promise<boolean> {
  let removed = false;
  for (const name of await namesIn(folder))
    if (name.startsWith(prefix) && temporaryName.test(name))
      removed = (await disk.remove(join(folder, name))) || removed;
  return removed;
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
}
