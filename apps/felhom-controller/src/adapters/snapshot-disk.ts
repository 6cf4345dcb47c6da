import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, lstat, mkdir, open, readdir, readFile, realpath, rename, statfs, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorCode, systemDisk } from '@felhom/durable/disk.ts';
import { unwritable } from '@felhom/durable/unwritable.ts';
import type { CommandRunner } from '@felhom/kernel/command.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { parseMounts } from '../volume-snapshots/mounts.ts';
import type { SnapshotDisk, StoredFile } from '../volume-snapshots/ports.ts';

const removeMs = 3_600_000;
const syncMs = 3_600_000;
const largestBytes = 16 * 1024 * 1024;

/** The file system as snapshots need it, for real. */
export function snapshotDisk(commands: CommandRunner): SnapshotDisk {
  const must = async (file: string, args: readonly string[], timeoutMs: number): Promise<void> => {
    const { exitCode, stderr, spawnError } = await commands.run(file, args, { timeoutMs });
    if (exitCode === 0) return;
    throw new Failure('operation_failed', {
      message: `${file} failed: ${spawnError?.message ?? (stderr.trim().split('\n').at(-1) || 'no reason was given')}`,
      hint: 'Look at the disk (dmesg, df, mount), then run the same command again.',
    });
  };
  return {
    kindOf,
    resolve: async (path) => await orNull(realpath(path)),
    list: async (folder) => ((await orNull(readdir(folder))) ?? []).toSorted(),
    makeFolder: async (path) => void (await told(path, mkdir(path, { recursive: true, mode: 0o700 }))),
    rename: async (from, to) => await told(to, rename(from, to)),
    link: async (from, to) => await told(to, link(from, to)),
    remove: async (path) => {
      const kind = await kindOf(path);
      if (kind === null) return;
      if (kind === 'folder') await must('rm', ['-rf', '--one-file-system', '--', path], removeMs);
      else await told(path, unlink(path));
    },
    syncFolder: async (path) => await told(path, systemDisk.syncDirectory(path)),
    syncAll: async (path) => await must('sync', ['-f', '--', path], syncMs),
    freeBytes: async (path) => {
      const { bavail, bsize } = await statfs(path);
      return bavail * bsize;
    },
    mounts: async () => parseMounts(await readFile('/proc/self/mountinfo', 'utf8')),
    read,
    write: async (path, file) => await told(path, write(path, file)),
    sizeOf: async (path) => (await lstat(path)).size,
    copyAttributes: async (from, to) => {
      // tar knows modes, owners, ACLs and extended attributes of a folder, and nothing else does everywhere.
      const between = join(tmpdir(), `felhom-attributes-${randomBytes(6).toString('hex')}.tar`);
      const known = ['--numeric-owner', '--acls', '--xattrs', '--xattrs-include=*', '--file', between, '--directory'];
      try {
        await must('tar', ['--create', '--format=posix', '--no-recursion', ...known, from, '.'], removeMs);
        await must('tar', ['--extract', ...known, to], removeMs);
      } finally {
        await unlink(between).catch(() => undefined); // Never made: the failure itself is on its way.
      }
    },
    newId: (nowMs) => {
      const time = new Date(nowMs).toISOString().slice(0, 23).replaceAll(/[-:.]/g, '');
      return `${time}-${randomBytes(3).toString('hex')}`;
    },
  };
}

async function kindOf(path: string): Promise<'folder' | 'file' | 'other' | null> {
  const seen = await orNull(lstat(path));
  if (seen === null) return null;
  return seen.isDirectory() ? 'folder' : seen.isFile() ? 'file' : 'other';
}

async function read(path: string): Promise<StoredFile | null> {
  const handle = await orNull(open(path, constants.O_RDONLY | constants.O_NONBLOCK));
  if (handle === null) return null;
  try {
    const seen = await handle.stat();
    if (!seen.isFile() || seen.size > largestBytes) return null;
    return { bytes: await handle.readFile(), mode: seen.mode & 0o7777, uid: seen.uid, gid: seen.gid };
  } finally {
    await handle.close();
  }
}

async function write(path: string, { bytes, mode, uid, gid }: StoredFile): Promise<void> {
  const handle = await open(
    path,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    0o600,
  );
  try {
    await handle.writeFile(bytes);
    // Only root may give files away; a user's own are the user's already.
    if (process.getuid?.() === 0) await handle.chown(uid, gid);
    await handle.chmod(mode);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A disk that refuses is no bug of ours: what is wrong with it, and what to do. */
async function told<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw errorCode(error) === '' ? error : unwritable(path, 'Nothing more was done', error);
  }
}

async function orNull<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errorCode(error))) return null;
    throw error;
  }
}
