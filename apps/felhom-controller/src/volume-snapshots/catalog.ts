import { join } from 'node:path/posix';
import { Failure } from '@felhom/kernel/failure.ts';
import type { ListedSnapshot, Snapshot } from './contract.ts';
import { type Manifest, manifestFile, manifestVersion, snapshotId, withChecksum } from './manifest.ts';
import type { SnapshotDisk } from './ports.ts';

/*
 * Invariants
 * - A snapshot is complete or absent: it is built under another name and appears by one rename, after everything in it is durable.
 * - It goes as it came: renamed first, removed then. Names that begin with a dot are nobody's snapshot.
 * - `last-good` is replaced as a whole and names a complete snapshot. One that cannot be read protects every snapshot.
 * - One writer: whoever writes holds the run lock. Reading never writes.
 */

export interface Catalog {
  stacks(): Promise<string[]>;
  list(stack: string): Promise<ListedSnapshot[]>;
  /** @throws Failure `not_found`, `snapshot_damaged`, `state_newer`. */
  find(stack: string, id: string): Promise<Snapshot>;
  /** The folder of a snapshot. */
  folderOf(stack: string, id: string): string;
  /** A folder to build in. What killed processes left behind is removed first. */
  beginBuilding(stack: string, id: string): Promise<string>;
  /** Everything in the building folder is durable already: makes it a snapshot. */
  publish(stack: string, building: string, manifest: Manifest): Promise<void>;
  /** Replaces the manifest of a snapshot. */
  rewrite(stack: string, manifest: Manifest): Promise<void>;
  remove(stack: string, id: string): Promise<void>;
  lastGood(stack: string): Promise<LastGood>;
  markLastGood(stack: string, id: string): Promise<void>;
}

export type LastGood = { kind: 'none' } | { kind: 'known'; id: string } | { kind: 'unreadable' };

const manifestName = 'manifest.json';
const pointerName = 'last-good';

export function openCatalog(disk: SnapshotDisk, root: string): Catalog {
  const place = (stack: string): string => join(root, folderName(stack));
  const folderOf = (stack: string, id: string): string => join(place(stack), id);

  const lastGood = async (stack: string): Promise<LastGood> => {
    const file = await disk.read(join(place(stack), pointerName));
    if (file === null) return { kind: 'none' };
    const id = Buffer.from(file.bytes).toString('utf8').trim();
    return snapshotId.safeParse(id).success ? { kind: 'known', id } : { kind: 'unreadable' };
  };
  const replace = async (folder: string, name: string, text: string): Promise<void> => {
    const temporary = join(folder, `.${name}.new`);
    await disk.remove(temporary);
    await disk.write(temporary, { bytes: Buffer.from(text), mode: 0o600, uid: 0, gid: 0 });
    await disk.rename(temporary, join(folder, name));
    await disk.syncFolder(folder);
  };
  const idsOf = async (stack: string): Promise<string[]> =>
    (await disk.list(place(stack))).filter((name) => snapshotId.safeParse(name).success).toReversed();

  const read = async (stack: string, id: string): Promise<Manifest> => {
    const file = await disk.read(join(folderOf(stack, id), manifestName));
    if (file === null) throw damaged(stack, id, 'it has no manifest');
    const manifest = parseManifest(stack, id, Buffer.from(file.bytes).toString('utf8'));
    if (manifest.id !== id) throw damaged(stack, id, `its manifest is that of snapshot ${manifest.id}`);
    if (manifest.stack !== stack) throw damaged(stack, id, `its manifest belongs to the stack ${manifest.stack}`);
    return manifest;
  };
  const isLastGood = (pointer: LastGood, id: string): boolean => pointer.kind === 'known' && pointer.id === id;

  return {
    folderOf,
    lastGood,
    stacks: async () => (await disk.list(root)).map(stackName).filter((name): name is string => name !== null),
    list: async (stack) => {
      const pointer = await lastGood(stack);
      const listed: ListedSnapshot[] = [];
      for (const id of await idsOf(stack)) {
        try {
          const manifest = await read(stack, id);
          listed.push({ kind: 'readable', id, manifest, isLastGood: isLastGood(pointer, id) });
        } catch (error) {
          if (!(error instanceof Failure)) throw error;
          listed.push({ kind: 'damaged', id, why: error.message, isLastGood: isLastGood(pointer, id) });
        }
      }
      return listed;
    },
    find: async (stack, id) => {
      const ids = await idsOf(stack);
      if (!ids.includes(id)) throw notFound(stack, id, ids);
      return { id, manifest: await read(stack, id), isLastGood: isLastGood(await lastGood(stack), id) };
    },
    beginBuilding: async (stack, id) => {
      await disk.makeFolder(place(stack));
      for (const name of await disk.list(place(stack))) {
        // A program that a killed process left behind may still write there: the next time, then.
        if (/^\.(?:building|removing)-/.test(name)) await disk.remove(join(place(stack), name)).catch(() => undefined);
      }
      const building = join(place(stack), `.building-${id}`);
      await disk.makeFolder(join(building, 'data'));
      await disk.makeFolder(join(building, 'files'));
      return building;
    },
    publish: async (stack, building, manifest) => {
      await replace(building, manifestName, toText(manifest));
      await disk.syncAll(building);
      await disk.rename(building, folderOf(stack, manifest.id));
      await disk.syncFolder(place(stack));
    },
    rewrite: async (stack, manifest) => await replace(folderOf(stack, manifest.id), manifestName, toText(manifest)),
    remove: async (stack, id) => {
      const leaving = join(place(stack), `.removing-${id}`);
      await disk.rename(folderOf(stack, id), leaving);
      await disk.syncFolder(place(stack));
      await disk.remove(leaving);
    },
    markLastGood: async (stack, id) => await replace(place(stack), pointerName, `${id}\n`),
  };
}

function toText(manifest: Manifest): string {
  return `${JSON.stringify({ version: manifestVersion, ...withChecksum(manifest) }, null, 2)}\n`;
}

function parseManifest(stack: string, id: string, text: string): Manifest {
  let outer: unknown;
  try {
    outer = JSON.parse(text);
  } catch (cause) {
    throw damaged(stack, id, 'its manifest is truncated or no JSON', cause);
  }
  const version = typeof outer === 'object' && outer !== null && 'version' in outer ? outer.version : null;
  if (typeof version === 'number' && version > manifestVersion) {
    throw new Failure('state_newer', {
      message: `snapshot ${id} of ${stack} was written by a newer version of this program (format ${version}); nothing was touched`,
      hint: 'Install the newer felhom-controller again, then run the same command.',
    });
  }
  const parsed = manifestFile.safeParse(outer);
  if (version === manifestVersion && parsed.success) return parsed.data.manifest;
  const issue = parsed.success ? 'it names no format' : (parsed.error.issues[0]?.message ?? 'it does not fit');
  throw damaged(stack, id, `its manifest cannot be believed: ${issue}`);
}

/** The failure of a snapshot that is not what it was. */
export function damaged(stack: string, id: string, why: string, cause?: unknown): Failure {
  return new Failure('snapshot_damaged', {
    message: `snapshot ${id} of ${stack} is damaged: ${why}. Nothing was touched`,
    hint: `Others: felhom-controller snapshot list ${stack}. Look at the disk that holds it (dmesg, smartctl).`,
    ...(cause === undefined ? {} : { cause }),
  });
}

function notFound(stack: string, id: string, ids: readonly string[]): Failure {
  return new Failure('not_found', {
    message: `${stack} has no snapshot ${JSON.stringify(id)}`,
    hint:
      ids.length === 0
        ? `It has none at all: felhom-controller snapshot create ${stack} --quiesce`
        : `It has: ${ids.slice(0, 5).join(', ')} (felhom-controller snapshot list ${stack})`,
  });
}

/** A stack's name as one folder: what a shell or a file system might take for something else is written as %XX. */
function folderName(stack: string): string {
  return encodeURIComponent(stack).replace(/^\./, '%2E').slice(0, 200);
}

function stackName(folder: string): string | null {
  if (folder.startsWith('.')) return null;
  try {
    return decodeURIComponent(folder);
  } catch {
    // Not one of ours.
    return null;
  }
}
