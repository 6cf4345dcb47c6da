import { constants } from 'node:fs';
import { z } from 'zod';
import { type Disk, systemDisk } from './disk.ts';

/** What a lock file says of whoever holds the lock. Information only: the flock alone says held. */
export const lockHolder = z.looseObject({
  pid: z.number().int().positive(),
  /** Field 22 of /proc/PID/stat. */
  startTime: z.string(),
  /** Wall time (ms since the epoch) by which the holder means to be done; past it, it may be taken for hung. */
  deadlineMs: z.number().optional(),
  /** What it does, in words for a person: `backup now`. */
  purpose: z.string().optional(),
  runId: z.string().optional(),
});
export type LockHolder = z.infer<typeof lockHolder>;

const largestBytes = 64 * 1024;
const tries = 3;

/**
 * What the lock file at `path` says of its holder; null where it says nothing readable. It is
 * written in place, so a reader may catch it half written: then it looks again.
 */
export async function readLockHolder(path: string, disk: Disk = systemDisk): Promise<LockHolder | null> {
  for (let attempt = 1; attempt <= tries; attempt += 1) {
    const text = await readText(path, disk);
    if (text === null || text === '') return null;
    const holder = lockHolder.safeParse(parseJson(text));
    if (holder.success) return holder.data;
  }
  return null;
}

async function readText(path: string, disk: Disk): Promise<string | null> {
  try {
    const file = await disk.open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { isFile, sizeBytes } = await file.stat();
      return isFile && sizeBytes <= largestBytes ? (await file.readAll()).toString('utf8') : null;
    } finally {
      await file.close();
    }
  } catch {
    return null; // No file, no right to read it: nobody we could name.
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // Half written: the caller looks again.
  }
}
