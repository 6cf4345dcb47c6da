import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { createReadStream } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Member } from '../volume-snapshots/ports.ts';

/** Every entry of a copied tree, parents first, by name. A second name of one file is a `hardlink` to its first. */
export async function treeMembers(root: string, onMember: (member: Member) => void): Promise<void> {
  for await (const { member } of walk(root)) onMember(member);
}

/** SHA-256 over names, kinds, owners, modes, times, link targets and contents of a tree. */
export async function digestTree(root: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const { member, seen } of walk(root)) {
    const { mode, uid, gid, size, mtimeNs } = seen;
    const own = member.kind === 'file' ? String(size) : '';
    hash.update([member.kind, member.path, mode, uid, gid, own, mtimeNs, member.target ?? ''].join('\0'));
    hash.update('\0');
    if (member.kind === 'file') for await (const chunk of createReadStream(join(root, member.path))) hash.update(chunk);
  }
  return hash.digest('hex');
}

async function* walk(root: string): AsyncGenerator<{ member: Member; seen: BigIntStats }> {
  const firstNames = new Map<bigint, string>();
  const pending = ['.'];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    const seen = await lstat(join(root, path), { bigint: true });
    const first = seen.isFile() && seen.nlink > 1n ? firstNames.get(seen.ino) : undefined;
    if (seen.isFile() && seen.nlink > 1n && first === undefined) firstNames.set(seen.ino, path);
    const target = seen.isSymbolicLink() ? await readlink(join(root, path)) : (first ?? null);
    yield { member: { kind: first === undefined ? kindOf(seen) : 'hardlink', path, target }, seen };
    if (!seen.isDirectory()) continue;
    const names = (await readdir(join(root, path))).toSorted();
    for (const name of names.toReversed()) pending.push(path === '.' ? name : `${path}/${name}`);
  }
}

function kindOf(seen: BigIntStats): Member['kind'] {
  if (seen.isFile()) return 'file';
  if (seen.isDirectory()) return 'folder';
  if (seen.isSymbolicLink()) return 'link';
  if (seen.isFIFO()) return 'fifo';
  if (seen.isSocket()) return 'socket';
  return seen.isBlockDevice() || seen.isCharacterDevice() ? 'device' : 'other';
}
