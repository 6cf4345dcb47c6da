import { dirname, join } from 'node:path/posix';
import type { SnapshotDisk } from './ports.ts';
import type { SwapItem } from './restore-debt.ts';

/*
 * Exchanging a target for what was unpacked beside it, and taking that back.
 *
 * Invariants
 * - Where an exchange stands is read off the disk, never remembered: each function may be called again after a crash at
 *   any of its steps, and after the other one was.
 * - `fresh` is there until its content is the target.
 */

/** Brings the fresh one into place. Twice equals once. */
export async function swapIn(disk: SnapshotDisk, item: SwapItem): Promise<void> {
  if (item.kind === 'contents') return await swapContents(disk, item);
  if (item.kind === 'file') return await swapFile(disk, item);
  await swapFolder(disk, item);
}

/** Puts back what was there before. Twice equals once. */
export async function swapBack(disk: SnapshotDisk, item: SwapItem): Promise<void> {
  if (item.kind === 'contents') return await swapContentsBack(disk, item);
  if (item.kind === 'file') return await swapFileBack(disk, item);
  await swapFolderBack(disk, item);
}

async function isThere(disk: SnapshotDisk, path: string): Promise<boolean> {
  return (await disk.kindOf(path)) !== null;
}

/** Durable in both folders; a folder that is gone has nothing to make durable. */
async function move(disk: SnapshotDisk, from: string, to: string): Promise<void> {
  await disk.rename(from, to);
  await disk.syncFolder(dirname(to));
  if (dirname(from) !== dirname(to)) await disk.syncFolder(dirname(from));
}

async function swapFolder(disk: SnapshotDisk, { target, fresh, aside }: SwapItem): Promise<void> {
  if (!(await isThere(disk, fresh))) return;
  if (await isThere(disk, target)) {
    // The engine makes a missing folder at a container's start: what stands there besides the one set aside is nobody's data.
    if (await isThere(disk, aside)) await disk.remove(target);
    else await move(disk, target, aside);
  }
  await move(disk, fresh, target);
}

async function swapFolderBack(disk: SnapshotDisk, { target, fresh, aside, had_target }: SwapItem): Promise<void> {
  const isAside = await isThere(disk, aside);
  if (had_target && !isAside) return;
  if (await isThere(disk, target)) {
    if (await isThere(disk, fresh)) {
      if (had_target) await disk.remove(target);
    } else await move(disk, target, fresh);
  }
  if (isAside) await move(disk, aside, target);
}

/** The old file keeps a second name, and the new one is renamed over it: there is a file at every moment. */
async function swapFile(disk: SnapshotDisk, { target, fresh, aside, had_target }: SwapItem): Promise<void> {
  if (!(await isThere(disk, fresh))) return;
  if (had_target && !(await isThere(disk, aside)) && (await isThere(disk, target))) {
    await disk.link(target, aside);
    await disk.syncFolder(dirname(aside));
  }
  await move(disk, fresh, target);
}

async function swapFileBack(disk: SnapshotDisk, { target, fresh, aside, had_target }: SwapItem): Promise<void> {
  if (await isThere(disk, fresh)) return;
  if (had_target) {
    if (await isThere(disk, aside)) await move(disk, aside, target);
    return;
  }
  if (await isThere(disk, target)) await move(disk, target, fresh);
}

/**
 * In a mount point: `fresh` until every old entry is set aside, then `ready` until every new one is in place. `aside` was
 * made before, with the attributes of the mount point.
 */
const readyOf = ({ fresh }: SwapItem): string => join(dirname(fresh), 'ready');

async function swapContents(disk: SnapshotDisk, item: SwapItem): Promise<void> {
  const { target, fresh, aside } = item;
  const work = dirname(fresh);
  const ready = readyOf(item);
  if (await isThere(disk, fresh)) {
    await moveEntries(disk, target, aside, work);
    await move(disk, fresh, ready);
  }
  if (!(await isThere(disk, ready))) return;
  await moveEntries(disk, ready, target, work);
  await disk.copyAttributes(ready, target);
}

async function swapContentsBack(disk: SnapshotDisk, item: SwapItem): Promise<void> {
  const { target, fresh, aside } = item;
  const work = dirname(fresh);
  const ready = readyOf(item);
  if (await isThere(disk, ready)) {
    await moveEntries(disk, target, ready, work);
    await move(disk, ready, fresh);
  }
  await moveEntries(disk, aside, target, work);
  await disk.copyAttributes(aside, target);
}

/** Moves all but the folder in which we work, then makes it durable. */
async function moveEntries(disk: SnapshotDisk, from: string, to: string, work: string): Promise<void> {
  for (const name of await disk.list(from)) {
    if (join(from, name) === work) continue;
    await disk.rename(join(from, name), join(to, name));
  }
  await disk.syncFolder(to);
  await disk.syncFolder(from);
}
