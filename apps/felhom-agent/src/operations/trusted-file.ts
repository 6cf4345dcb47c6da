import { constants, type Stats } from 'node:fs';
import { lstat, open, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errorCode } from '@felhom/durable/disk.ts';

/*
 * Files that decide who may sign. Whoever can write one, or put another in its place, decides what is destroyed: so each
 * of them, and every folder on the way to it, belongs to root or to the agent, and nobody else may write there. What is
 * judged is what is read: the open file, and no link.
 */

/** Whom such a file may belong to: root, us, and the user of the agent, to whom the state folder belongs. */
export async function trustedOwners(stateDir?: string): Promise<ReadonlySet<number>> {
  const owners = [0, process.geteuid?.() ?? 0];
  const state = stateDir === undefined ? null : await stat(stateDir).catch(() => null); // Not there yet: nobody's.
  return new Set(state === null ? owners : [...owners, state.uid]);
}

/**
 * The text of a file that nobody but `owners` could have written. Throws Error with the reason, the path in it, for any
 * other, and for one longer than `largestBytes`.
 */
export async function readTrustedFile(
  path: string,
  owners: ReadonlySet<number>,
  largestBytes: number,
): Promise<string> {
  const folder = await requireTrustedFolder(dirname(path), owners);
  // A fifo must not hang us; a link leads to where others may write.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(join(folder, basename(path)), flags).catch((error: unknown) => {
    throw errorCode(error) === 'ELOOP' ? new Error(`${path} is a link`) : error;
  });
  try {
    const found = await file.stat();
    if (!found.isFile()) throw new Error(`${path} is no regular file`);
    requireTrusted(path, found, owners);
    if (found.size > largestBytes) throw new Error(`${path} is longer than ${largestBytes} bytes`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

/** The folder's real path. Throws Error unless it and all above it are such that nobody but `owners` can exchange what is in it. */
export async function requireTrustedFolder(folder: string, owners: ReadonlySet<number>): Promise<string> {
  const real = await realpath(folder);
  for (let path = real; ; path = dirname(path)) {
    const found = await lstat(path);
    if (!found.isDirectory()) throw new Error(`${path} is no folder`);
    // In a sticky folder (/tmp) nobody exchanges what is another's.
    requireTrusted(path, found, owners, { sticky: path !== real });
    if (path === dirname(path)) return real;
  }
}

function requireTrusted(
  path: string,
  { mode, uid }: Stats,
  owners: ReadonlySet<number>,
  { sticky = false }: { sticky?: boolean } = {},
): void {
  if (!owners.has(uid)) throw new Error(`${path} belongs to user ${uid}, who could change it`);
  const isSticky = sticky && (mode & 0o1000) !== 0;
  if ((mode & 0o022) !== 0 && !isSticky)
    throw new Error(`${path} can be written by others (mode ${(mode & 0o7777).toString(8)})`);
}
