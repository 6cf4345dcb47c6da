import { dirname, join } from 'node:path/posix';
import type { SourceMethod } from 'felhom-controller/volume-snapshots/contract.ts';
import type { Mount } from 'felhom-controller/volume-snapshots/mounts.ts';
import type { Archiver, Member, SnapshotDisk, StoredFile } from 'felhom-controller/volume-snapshots/ports.ts';

/*
 * A file system in memory, and the programs that copy on it, as snapshots meet them. It refuses what a real one refuses:
 * renaming a mount point, renaming onto a folder that holds something, reading what is not there.
 */

type Node =
  | { kind: 'file'; file: StoredFile; inode: number }
  | { kind: 'folder'; children: Map<string, Node>; attributes: string };

export interface MemoryDisk {
  disk: SnapshotDisk;
  archiver: Archiver;
  /** A file of the world's making; folders above it are made. */
  put(path: string, text: string): void;
  folder(path: string, attributes?: string): void;
  text(path: string): string | null;
  remove(path: string): void;
  mount(mount: Mount): void;
  /** Every file below a folder as `path=text`, and every folder with its attributes. */
  portrait(folder: string): string[];
  /** Paths below a folder. */
  paths(folder: string): string[];
  /** How many of the next renames fail, `after` so many; a removal that fails has removed a part. */
  failures: { renames: number; after: number; unpacks: number; captures: number; removals: number };
  freeBytes: number;
}

export function memoryDisk(): MemoryDisk {
  const root: Node = { kind: 'folder', children: new Map(), attributes: 'root' };
  const mounts: Mount[] = [{ device: '8:1', path: '/', type: 'ext4', source: '/dev/sda1', readOnly: false }];
  const failures = { renames: 0, after: 0, unpacks: 0, captures: 0, removals: 0 };
  let inodes = 0;
  let ids = 0;

  const find = (path: string): Node | null => {
    let node: Node = root;
    for (const name of parts(path)) {
      const next: Node | undefined = node.kind === 'folder' ? node.children.get(name) : undefined;
      if (next === undefined) return null;
      node = next;
    }
    return node;
  };
  const folderAt = (path: string): Extract<Node, { kind: 'folder' }> => {
    const node = find(path);
    if (node?.kind !== 'folder') throw systemError('ENOENT', path);
    return node;
  };
  const makeFolder = (path: string, attributes = '0700'): void => {
    let node: Node = root;
    for (const name of parts(path)) {
      if (node.kind !== 'folder') throw systemError('ENOTDIR', path);
      const next: Node = node.children.get(name) ?? { kind: 'folder', children: new Map(), attributes };
      node.children.set(name, next);
      node = next;
    }
  };
  const place = (path: string, node: Node): void => void folderAt(dirname(path)).children.set(nameOf(path), node);
  const drop = (path: string): void => void folderAt(dirname(path)).children.delete(nameOf(path));

  const disk: SnapshotDisk = {
    kindOf: async (path) => find(path)?.kind ?? null,
    resolve: async (path) => (find(path) === null ? null : path),
    list: async (path) => {
      const node = find(path);
      return node?.kind === 'folder' ? [...node.children.keys()].toSorted() : [];
    },
    makeFolder: async (path) => makeFolder(path),
    rename: async (from, to) => {
      if (failures.renames > 0) {
        if (failures.after > 0) failures.after -= 1;
        else {
          failures.renames -= 1;
          throw systemError('EIO', from);
        }
      }
      if (mounts.some(({ path }) => path === from || path === to)) throw systemError('EBUSY', from);
      const node = find(from);
      const there = find(to);
      if (node === null) throw systemError('ENOENT', from);
      if (there?.kind === 'folder' && there.children.size > 0) throw systemError('ENOTEMPTY', to);
      if (there !== null && there.kind !== node.kind) throw systemError('EEXIST', to);
      if (there !== null && there === node) return;
      place(to, node);
      drop(from);
    },
    link: async (from, to) => {
      const node = find(from);
      if (node?.kind !== 'file') throw systemError('EPERM', from);
      if (find(to) !== null) throw systemError('EEXIST', to);
      place(to, node);
    },
    remove: async (path) => {
      const node = find(path);
      if (node === null) return;
      if (failures.removals > 0) {
        if (failures.after > 0) failures.after -= 1;
        else {
          failures.removals -= 1;
          const [first] = node.kind === 'folder' ? [...node.children.keys()].toSorted() : [];
          if (first !== undefined) drop(join(path, first));
          throw systemError('EPERM', path);
        }
      }
      drop(path);
    },
    syncFolder: async (path) => void folderAt(path),
    syncAll: async () => undefined,
    freeBytes: async () => world.freeBytes,
    mounts: async () => [...mounts],
    read: async (path) => {
      const node = find(path);
      return node?.kind === 'file' ? node.file : null;
    },
    write: async (path, file) => {
      if (find(path) !== null) throw systemError('EEXIST', path);
      inodes += 1;
      place(path, { kind: 'file', file, inode: inodes });
    },
    sizeOf: async (path) => {
      const node = find(path);
      return node?.kind === 'file' ? node.file.bytes.byteLength : 0;
    },
    copyAttributes: async (from, to) => {
      folderAt(to).attributes = folderAt(from).attributes;
    },
    newId: (nowMs) => {
      ids += 1;
      return `${new Date(nowMs).toISOString().slice(0, 23).replaceAll(/[-:.]/g, '')}-${ids.toString(16).padStart(6, '0')}`;
    },
  };

  const archiver: Archiver = {
    measure: async (path) => ({ bytes: 100, entries: walk(folderAt(path)).length, sockets: [], devices: [] }),
    canShare: async () => false,
    capture: async (path, into, method) => {
      if (failures.captures > 0) {
        failures.captures -= 1;
        throw new Error('tar was killed');
      }
      if (method === 'tree') place(into, structuredCopy(folderAt(path)));
      else place(into, archiveOf(folderAt(path)));
    },
    digest: async (stored) => digestOf(JSON.stringify(walk(unpacked(find(stored), stored)))),
    members: async (stored, _method: SourceMethod, onMember: (member: Member) => void) => {
      for (const { path, kind } of walk(unpacked(find(stored), stored))) onMember({ path, kind, target: null });
    },
    unpack: async (stored, into) => {
      if (failures.unpacks > 0) {
        failures.unpacks -= 1;
        throw new Error('tar was killed');
      }
      const target = folderAt(into);
      const kept = unpacked(find(stored), stored);
      target.attributes = kept.attributes;
      for (const [name, node] of structuredCopy(kept).children) target.children.set(name, node);
    },
  };

  const archiveOf = (folder: Extract<Node, { kind: 'folder' }>): Node => {
    inodes += 1;
    const bytes = Buffer.from(JSON.stringify(toPlain(folder)));
    return { kind: 'file', inode: inodes, file: { bytes, mode: 0o600, uid: 0, gid: 0 } };
  };

  const world: MemoryDisk = {
    disk,
    archiver,
    failures,
    freeBytes: 1e9,
    put: (path, text) => {
      makeFolder(dirname(path), 'world');
      inodes += 1;
      place(path, { kind: 'file', inode: inodes, file: { bytes: Buffer.from(text), mode: 0o644, uid: 0, gid: 0 } });
    },
    folder: (path, attributes) => makeFolder(path, attributes),
    text: (path) => {
      const node = find(path);
      return node?.kind === 'file' ? Buffer.from(node.file.bytes).toString('utf8') : null;
    },
    remove: (path) => drop(path),
    mount: (mount) => void mounts.push(mount),
    portrait: (path) => {
      const node = find(path);
      if (node === null) return ['absent'];
      return walk(node).map((each) => `${each.path} ${each.kind} ${each.told}`);
    },
    paths: (path) => {
      const node = find(path);
      return node === null ? [] : walk(node).map((each) => join(path, each.path));
    },
  };
  return world;
}

function walk(node: Node, path = '.'): { path: string; kind: 'file' | 'folder'; told: string }[] {
  if (node.kind === 'file') return [{ path, kind: 'file', told: Buffer.from(node.file.bytes).toString('utf8') }];
  const below = [...node.children].toSorted(([left], [right]) => left.localeCompare(right));
  return [
    { path, kind: 'folder', told: node.attributes },
    ...below.flatMap(([name, child]) => walk(child, path === '.' ? name : `${path}/${name}`)),
  ];
}

type Plain = { text: string } | { attributes: string; children: [string, Plain][] };

function toPlain(node: Node): Plain {
  if (node.kind === 'file') return { text: Buffer.from(node.file.bytes).toString('utf8') };
  return { attributes: node.attributes, children: [...node.children].map(([name, child]) => [name, toPlain(child)]) };
}

function fromPlain(plain: Plain): Node {
  if ('text' in plain)
    return { kind: 'file', inode: 0, file: { bytes: Buffer.from(plain.text), mode: 0o644, uid: 0, gid: 0 } };
  return {
    kind: 'folder',
    attributes: plain.attributes,
    children: new Map(plain.children.map(([name, child]) => [name, fromPlain(child)])),
  };
}

function structuredCopy(folder: Extract<Node, { kind: 'folder' }>): Extract<Node, { kind: 'folder' }> {
  const copy = fromPlain(toPlain(folder));
  if (copy.kind !== 'folder') throw new Error('a folder is a folder');
  return copy;
}

function unpacked(node: Node | null, path: string): Extract<Node, { kind: 'folder' }> {
  if (node?.kind === 'folder') return node;
  if (node === null) throw systemError('ENOENT', path);
  const plain = fromPlain(JSON.parse(Buffer.from(node.file.bytes).toString('utf8')) as Plain);
  if (plain.kind !== 'folder') throw new Error('an archive holds a folder');
  return plain;
}

function digestOf(text: string): string {
  let sum = 0n;
  for (const char of text) sum = (sum * 31n + BigInt(char.codePointAt(0) ?? 0)) % 2n ** 256n;
  return sum.toString(16).padStart(64, '0');
}

function parts(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

function nameOf(path: string): string {
  return parts(path).at(-1) ?? '';
}

function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}
