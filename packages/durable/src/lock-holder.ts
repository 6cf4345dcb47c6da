import { constants } from 'node:fs';
import { type Disk, systemDisk } from './disk.ts';

/** What a lock file says of whoever holds the lock. Information only: the flock alone says held. */
export interface LockHolder {
  pid: number;
  /** Field 22 of /proc/PID/stat. */
  startTime: string;
  /** Wall time (ms since the epoch) by which the holder means to be done; past it, it may be taken for hung. */
  deadlineMs?: number | undefined;
  /** What it does, in words for a person: `backup now`. */
  purpose?: string | undefined;
  runId?: string | undefined;
  /** Whatever else the holder has to say. */
  [more: string]: unknown;
}

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
    const holder = parseHolder(text);
    if (holder !== null) return holder;
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

function parseHolder(text: string): LockHolder | null {
  let holder: unknown;
  try {
    holder = JSON.parse(text);
  } catch {
    return null; // Half written: the caller looks again.
  }
  return isHolder(holder) ? holder : null;
}

function isHolder(value: unknown): value is LockHolder {
  if (typeof value !== 'object' || value === null) return false;
  const { pid, startTime, deadlineMs, purpose, runId }: Record<string, unknown> = { ...value };
  if (!Number.isSafeInteger(pid) || Number(pid) <= 0 || typeof startTime !== 'string') return false;
  const words = [purpose, runId].every((word) => word === undefined || typeof word === 'string');
  return words && (deadlineMs === undefined || typeof deadlineMs === 'number');
}
