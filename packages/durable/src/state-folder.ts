import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Disk } from './disk.ts';

/** Creates `folder` and what is missing above it, 0700, and makes every new name durable. */
export async function ensureFolder(folder: string, disk: Disk): Promise<void> {
  const first = await mkdir(folder, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  const top = dirname(first);
  for (let level = folder; level !== top && level !== dirname(level); level = dirname(level)) {
    await disk.syncDirectory(dirname(level));
  }
}
