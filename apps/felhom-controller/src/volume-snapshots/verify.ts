import { createHash } from 'node:crypto';
import { join } from 'node:path/posix';
import { Failure } from '@felhom/kernel/failure.ts';
import { type Catalog, damaged } from './catalog.ts';
import { watchMembers } from './check-members.ts';
import type { Snapshot, Verified } from './contract.ts';
import type { KeptFile, KeptSource, Manifest } from './manifest.ts';
import type { SnapshotPorts } from './ports.ts';

/** Reads all of a snapshot and compares it with its manifest. @throws Failure `snapshot_damaged` with every fault. */
export async function verifySnapshot(
  ports: SnapshotPorts,
  catalog: Catalog,
  stack: string,
  id: string,
): Promise<Verified> {
  const snapshot = await catalog.find(stack, id);
  const folder = catalog.folderOf(stack, id);
  const { files, sources } = snapshot.manifest;
  const faults = (
    await Promise.all([
      ...files.map(async (file) => await fileFaults(ports, folder, file)),
      ...sources.map(async (source) => await sourceFaults(ports, folder, source)),
    ])
  ).flat();
  if (faults.length > 0) throw damaged(stack, id, faults.join('; '));
  const unsealed = sources.filter(({ seal }) => seal === null);
  return {
    ...snapshot,
    hashed: unsealed.length === 0,
    notes: unsealed.map(unhashed),
  };
}

/** An archive carries checksums of its own (zstd's); a tree has nothing but what its file system may keep. */
function unhashed({ name, method }: KeptSource): string {
  return method === 'archive'
    ? `${name} was never hashed: its size and the checksums inside it are right`
    : `${name} was never hashed: its names are there, its contents could not be compared with anything`;
}

async function fileFaults({ disk }: SnapshotPorts, folder: string, file: KeptFile): Promise<string[]> {
  const found = await disk.read(join(folder, file.stored));
  if (found === null) return [`${file.stored} (${file.path}) is missing`];
  const sha256 = createHash('sha256').update(found.bytes).digest('hex');
  return sha256 === file.sha256 ? [] : [`${file.stored} (${file.path}) is not what was kept`];
}

async function sourceFaults(ports: SnapshotPorts, folder: string, source: KeptSource): Promise<string[]> {
  const { disk, archiver } = ports;
  const stored = join(folder, source.stored);
  const fault = (why: string): string[] => [`${source.stored} (${source.name}) ${why}`];
  const kind = await disk.kindOf(stored);
  if (kind === null) return fault('is missing');
  if (kind !== (source.method === 'archive' ? 'file' : 'folder')) return fault('is not of the kind that was kept');
  if (source.method === 'archive') {
    const size = await disk.sizeOf(stored);
    if (size !== source.stored_bytes) return fault(`has ${size} bytes instead of ${source.stored_bytes}`);
  }
  if (source.seal !== null && (await archiver.digest(stored, source.method)) !== source.seal.sha256)
    return fault('has another hash');
  return await memberFaults(ports, stored, source, fault);
}

async function memberFaults(
  { archiver }: SnapshotPorts,
  stored: string,
  { method, seal }: KeptSource,
  fault: (why: string) => string[],
): Promise<string[]> {
  const watch = watchMembers();
  try {
    await archiver.members(stored, method, watch.see);
  } catch (error) {
    if (error instanceof Failure && error.code === 'snapshot_damaged') return fault(error.message);
    throw error;
  }
  const { members, outsideLinks, faults } = watch.found();
  if (faults.length > 0) return fault(`holds what may not be unpacked: ${faults.join(', ')}`);
  if (seal !== null && members !== seal.members) return fault(`has ${members} members instead of ${seal.members}`);
  if (seal !== null && outsideLinks !== seal.outside_links)
    return fault(`has ${outsideLinks} absolute links or links that lead out, instead of ${seal.outside_links}`);
  return [];
}

/** Computes the hashes of a kept snapshot and records them. With apps up: it takes as long as reading everything. */
export async function sealSnapshot(
  ports: SnapshotPorts,
  catalog: Catalog,
  stack: string,
  id: string,
): Promise<Snapshot> {
  const snapshot = await catalog.find(stack, id);
  const folder = catalog.folderOf(stack, id);
  const sources: KeptSource[] = [];
  for (const source of snapshot.manifest.sources)
    sources.push(source.seal === null ? await sealed(ports, folder, source) : source);
  const manifest: Manifest = { ...snapshot.manifest, sources };
  await catalog.rewrite(stack, manifest);
  return { ...snapshot, manifest };
}

async function sealed({ archiver }: SnapshotPorts, folder: string, source: KeptSource): Promise<KeptSource> {
  const stored = join(folder, source.stored);
  const watch = watchMembers();
  const [sha256] = await Promise.all([
    archiver.digest(stored, source.method),
    archiver.members(stored, source.method, watch.see),
  ]);
  const { members, outsideLinks } = watch.found();
  return { ...source, seal: { sha256, members, outside_links: outsideLinks } };
}
