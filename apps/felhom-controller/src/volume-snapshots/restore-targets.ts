import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path/posix';
import type { VolumeState } from '../engine/volume-engine.ts';
import type { RestoreRequest } from './contract.ts';
import type { StackLook } from './look.ts';
import type { KeptFile, KeptSource, Manifest } from './manifest.ts';
import { isWithin, mountOf, mountsBelow } from './mounts.ts';
import type { SnapshotDisk, SnapshotPorts } from './ports.ts';
import type { SwapItem } from './restore-debt.ts';

/** Where something kept goes, and how. */
export interface SourceTarget {
  source: KeptSource;
  item: SwapItem;
}

export interface FileTarget {
  file: KeptFile;
  item: SwapItem;
}

export interface RestoreTargets {
  sources: SourceTarget[];
  files: FileTarget[];
  /** Why it cannot be put back; then nothing is touched. */
  faults: string[];
}

/** Finds the place of everything in a snapshot, in the stack as it is now (or in the engine, for a rollback). */
export async function findTargets(
  ports: SnapshotPorts,
  look: StackLook,
  manifest: Manifest,
  { trust, files }: Pick<RestoreRequest, 'trust' | 'files'>,
): Promise<RestoreTargets> {
  const { disk } = ports;
  const restoreId = disk.newId(ports.clock.nowMs());
  const targets: RestoreTargets = { sources: [], files: [], faults: [] };
  const names = manifest.sources.filter(({ kind }) => kind === 'volume').map(({ name }) => name);
  const volumes = await ports.engine.volumes(names);
  for (const [at, source] of manifest.sources.entries()) {
    const volume = source.kind === 'volume' ? (volumes[names.indexOf(source.name)] ?? null) : null;
    const place = await placeOf(disk, look, source, volume, trust);
    if (typeof place === 'string') targets.faults.push(place);
    else targets.sources.push({ source, item: itemFor(place, `.felhom-restore-${restoreId}-${at}`) });
  }
  if (!files) return targets;
  for (const [at, file] of manifest.files.entries()) {
    // A project that is itself a source brings its files along.
    if (targets.sources.some(({ item }) => isWithin(file.path, item.target))) continue;
    const kind = await disk.kindOf(file.path);
    const isFolder = (await disk.kindOf(dirname(file.path))) === 'folder';
    if (!isFolder || (kind !== null && kind !== 'file')) targets.faults.push(`${file.path} cannot be written back`);
    else if (!(await isSame(disk, file)))
      targets.files.push({ file, item: fileItem(file.path, `.felhom-restore-${restoreId}-file-${at}`, kind !== null) });
  }
  return targets;
}

interface Place {
  path: string;
  isThere: boolean;
  isMountPoint: boolean;
}

/** A place, or why there is none. */
async function placeOf(
  disk: SnapshotDisk,
  look: StackLook,
  source: KeptSource,
  volume: VolumeState | null,
  trust: RestoreRequest['trust'],
): Promise<Place | string> {
  const { name, kind } = source;
  if (kind === 'volume' && volume === null) return `the engine has no volume ${name} any more`;
  const belongs = look.candidates.some((each) => each.kind === kind && each.name === name);
  if (trust === 'stack' && !belongs)
    return `the stack no longer uses ${kind === 'volume' ? `the volume ${name}` : name}`;
  const told = volume === null ? name : dataOf(volume);
  const path = (await disk.resolve(told)) ?? source.path;
  const found = await disk.kindOf(path);
  if (found !== null && found !== 'folder') return `${path} is no folder any more`;
  if ((await disk.kindOf(dirname(path))) !== 'folder') return `${dirname(path)}, in which ${name} lay, is gone`;
  const mounts = await disk.mounts();
  const below = mountsBelow(mounts, path)[0];
  if (below !== undefined) return `${below.path}, in ${name}, is a mount of its own`;
  if (mountOf(mounts, path)?.readOnly === true) return `${path} lies on a file system that is mounted read-only`;
  return { path, isThere: found !== null, isMountPoint: mountOf(mounts, path)?.path === path };
}

function dataOf({ mountpoint, options }: VolumeState): string {
  const device = options['device'];
  return device?.startsWith('/') === true ? device : mountpoint;
}

/** A mount point cannot be renamed (EBUSY): what lies in it is exchanged, in a folder inside it. */
function itemFor({ path, isThere, isMountPoint }: Place, name: string): SwapItem {
  if (isMountPoint) {
    const work = join(path, name);
    return { kind: 'contents', target: path, fresh: join(work, 'new'), aside: join(work, 'old'), had_target: true };
  }
  const beside = join(dirname(path), name);
  return { kind: 'folder', target: path, fresh: `${beside}.new`, aside: `${beside}.old`, had_target: isThere };
}

function fileItem(path: string, name: string, hadTarget: boolean): SwapItem {
  const beside = join(dirname(path), name);
  return { kind: 'file', target: path, fresh: `${beside}.new`, aside: `${beside}.old`, had_target: hadTarget };
}

async function isSame(disk: SnapshotDisk, file: KeptFile): Promise<boolean> {
  const now = await disk.read(file.path);
  return now !== null && createHash('sha256').update(now.bytes).digest('hex') === file.sha256 && now.mode === file.mode;
}
