import { execFile } from 'node:child_process';
import { mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** For tests: folders of their own, and small file systems that can be filled or made read-only. */

const run = promisify(execFile);

export interface ScratchFolder {
  path: string;
  remove(): Promise<void>;
}

export async function scratchFolder(): Promise<ScratchFolder> {
  const path = await mkdtemp(join(tmpdir(), 'felhom-durable-'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

export interface SmallDisk {
  path: string;
  /** Fills it until exactly this many blocks (pages, 4 KiB) are free. */
  leaveFree(pages: number): Promise<void>;
  remountReadOnly(): Promise<void>;
  remove(): Promise<void>;
}

const pageBytes = 4096;

/** A tmpfs of 64 pages. Null where this machine lets us mount none (no root): the caller says that it skips. */
export async function smallDisk(): Promise<SmallDisk | null> {
  const folder = await scratchFolder();
  try {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${64 * pageBytes},mode=0700`, 'felhom-test', folder.path]);
  } catch {
    await folder.remove();
    return null;
  }
  const { path } = folder;
  return {
    path,
    leaveFree: async (pages) => {
      await rm(join(path, 'filler'), { force: true });
      const { bavail } = await statfs(path);
      await writeFile(join(path, 'filler'), Buffer.alloc((bavail - pages) * pageBytes));
    },
    remountReadOnly: async () => {
      await run('mount', ['-o', 'remount,ro', path]);
    },
    remove: async () => {
      await run('umount', [path]);
      await folder.remove();
    },
  };
}
