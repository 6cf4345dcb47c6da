import type { ContainerState } from '../engine/engine.ts';
import { stackOf } from '../quiesce/marker.ts';
import type { Candidate } from './candidates.ts';
import type { LeftOut, Obstacle, SharedSource, Source } from './contract.ts';
import { isWithin, type Mount, mountOf, mountsBelow } from './mounts.ts';
import { isSystemPath } from './system-paths.ts';

export interface SourceFacts {
  stack: string;
  containers: readonly ContainerState[];
  candidates: readonly Candidate[];
  /** By the path as the engine tells it: with its links resolved, and what is there. */
  paths: ReadonlyMap<string, PathFact>;
  mounts: readonly Mount[];
  /** The project's folder, resolved; null: Compose recorded none. */
  projectFolder: string | null;
  policy: SnapshotPolicy;
  /** Folders of our own state: a snapshot never holds itself. */
  ownFolders: readonly string[];
}

export interface PathFact {
  resolved: string;
  kind: 'folder' | 'file' | 'other';
}

/** What configuration says of a stack's data. */
export interface SnapshotPolicy {
  /** Folders outside of the project that belong to it all the same; what lies in one of them is meant too. */
  include: readonly string[];
  /** Volumes and folders that a snapshot leaves out on purpose. */
  exclude: readonly string[];
}

export interface SourcePlan {
  sources: (Source & { isMountPoint: boolean })[];
  leftOut: LeftOut[];
  shared: SharedSource[];
  obstacles: Obstacle[];
}

type Verdict =
  | { kind: 'source'; path: string; isMountPoint: boolean }
  | { kind: 'left_out'; why: string }
  | { kind: 'obstacle'; why: string }
  | { kind: 'absent' };

/**
 * Decides what of a stack's mounts a snapshot holds. In: local volumes without driver options (or with options that
 * resolve to a folder), and writable folders inside the project or named in configuration. Everything else is named.
 */
export function planSources(facts: SourceFacts): SourcePlan {
  const leftOut: LeftOut[] = [];
  const obstacles: Obstacle[] = [];
  const found: SourcePlan['sources'] = [];
  for (const candidate of facts.candidates) {
    const verdict = judge(candidate, facts);
    const what = candidate.name;
    if (verdict.kind === 'left_out') leftOut.push({ what, why: verdict.why });
    if (verdict.kind === 'obstacle') obstacles.push({ what, why: verdict.why });
    if (verdict.kind !== 'source') continue;
    const { name, kind, services } = candidate;
    found.push({ name, kind, services, path: verdict.path, isMountPoint: verdict.isMountPoint });
  }
  const sources = withoutNested(found);
  for (const source of sources) {
    for (const mount of mountsBelow(facts.mounts, source.path))
      obstacles.push({ what: source.name, why: `${mount.path} in it is a mount of its own (${mount.type})` });
  }
  return { sources, leftOut, obstacles, shared: sharedSources(sources, facts) };
}

function judge(candidate: Candidate, facts: SourceFacts): Verdict {
  if (isNamed(candidate, facts.policy.exclude, facts)) return leftOut('left out by configuration');
  if (!candidate.writable) return leftOut('mounted read-only');
  return candidate.kind === 'volume' ? judgeVolume(candidate, facts) : judgeBind(candidate, facts);
}

function judgeVolume(candidate: Candidate, facts: SourceFacts): Verdict {
  const { volume } = candidate;
  if (volume === null) return { kind: 'absent' };
  if (volume.driver !== 'local') return refuse(candidate, `its driver is ${volume.driver}`);
  const { type = '', o = '', device = '' } = volume.options;
  if (Object.keys(volume.options).length === 0) return judgePath(candidate, volume.mountpoint, facts);
  if (type === 'tmpfs') return leftOut('in memory only (tmpfs)');
  if (o.split(',').some((option) => option === 'bind' || option === 'rbind') && device.startsWith('/'))
    return judgePath(candidate, device, facts);
  return refuse(candidate, `it is mounted from ${device === '' ? 'elsewhere' : device} (${type || 'driver options'})`);
}

function refuse({ name }: Candidate, why: string): Verdict {
  return { kind: 'obstacle', why: `${why}, which no snapshot can hold; leave it out on purpose: exclude: ["${name}"]` };
}

function judgeBind(candidate: Candidate, facts: SourceFacts): Verdict {
  const fact = facts.paths.get(candidate.path);
  if (fact === undefined) return { kind: 'absent' };
  if (fact.kind === 'other') return leftOut('a socket or a device');
  if (fact.kind === 'file') return leftOut('a single file, not a folder');
  const { projectFolder } = facts;
  const isNamedIn = isNamed(candidate, facts.policy.include, facts);
  const isInProject = projectFolder !== null && isWithin(fact.resolved, projectFolder);
  if (!isNamedIn && !isInProject) return leftOut("outside of the project's folder and not named in configuration");
  const own = mountOf(facts.mounts, fact.resolved);
  const project = projectFolder === null ? null : mountOf(facts.mounts, projectFolder);
  if (!isNamedIn && own?.device !== project?.device)
    return leftOut(`on another file system (${own?.type ?? 'unknown'}), and not named in configuration`);
  return judgePath(candidate, candidate.path, facts);
}

/** Kinds of file systems whose data lies on this machine. */
const localTypes = new Set(['ext2', 'ext3', 'ext4', 'xfs', 'btrfs', 'zfs', 'f2fs', 'bcachefs', 'overlay', 'tmpfs']);

function judgePath(candidate: Candidate, path: string, facts: SourceFacts): Verdict {
  const fact = facts.paths.get(path);
  if (fact === undefined)
    return candidate.kind === 'bind' ? { kind: 'absent' } : refuse(candidate, `${path} is absent`);
  if (fact.kind !== 'folder') return refuse(candidate, `${path} is no folder`);
  const { resolved } = fact;
  if (candidate.kind === 'bind' && isSystemPath(resolved)) return leftOut('a path of the system');
  const own = facts.ownFolders.find((folder) => isWithin(folder, resolved) || isWithin(resolved, folder));
  if (own !== undefined) return leftOut(`it holds ${own}, where snapshots and state lie`);
  const mount = mountOf(facts.mounts, resolved);
  if (mount !== null && !localTypes.has(mount.type)) return refuse(candidate, `it lies on ${mount.type}`);
  if (mount?.readOnly === true) return leftOut('on a file system that is mounted read-only');
  return { kind: 'source', path: resolved, isMountPoint: mount?.path === resolved };
}

function leftOut(why: string): Verdict {
  return { kind: 'left_out', why };
}

/** Whether a list of configuration means this candidate: by its name, or by a folder that it is or lies in. */
function isNamed(candidate: Candidate, list: readonly string[], facts: SourceFacts): boolean {
  const resolved = facts.paths.get(candidate.path)?.resolved ?? candidate.path;
  return list.some((entry) => {
    if (!entry.startsWith('/')) return entry === candidate.name || entry === candidate.key;
    return candidate.kind === 'bind' && isWithin(resolved, facts.paths.get(entry)?.resolved ?? entry);
  });
}

/** A folder inside another source is kept with it. */
function withoutNested(found: SourcePlan['sources']): SourcePlan['sources'] {
  const kept: SourcePlan['sources'] = [];
  for (const source of found.toSorted((left, right) => left.path.length - right.path.length)) {
    const around = kept.find(({ path }) => isWithin(source.path, path));
    if (around === undefined) kept.push(source);
    else around.services = [...new Set([...around.services, ...source.services])].toSorted();
  }
  return kept.toSorted((left, right) => left.name.localeCompare(right.name));
}

/** Who else uses a source. A read-only look from a folder far above, as monitoring takes it, is no use. */
function sharedSources(sources: readonly Source[], { stack, containers, paths }: SourceFacts): SharedSource[] {
  return sources.flatMap((source) =>
    containers
      .filter((container) => stackOf(container) !== stack || container.project === null)
      .filter(({ mounts }) =>
        mounts.some((mount) => {
          if (mount.kind === 'volume' && source.kind === 'volume' && mount.volume === source.name) return true;
          const path = paths.get(mount.source)?.resolved ?? mount.source;
          if (!path.startsWith('/')) return false;
          return isWithin(path, source.path) || (mount.writable && isWithin(source.path, path));
        }),
      )
      .map(({ name, status }) => ({
        source: source.name,
        container: name,
        running: status === 'running' || status === 'restarting' || status === 'paused',
      })),
  );
}
