import type { ContainerState } from '../engine/engine.ts';
import type { UpgradePlan } from './upgrade-plan.ts';

/** What is looked at before anything stops. */
export interface Preflight {
  plan: UpgradePlan;
  containers: readonly ContainerState[];
  /** One-off runs of the stack that run now, by name: nobody stops those, and they may write to its data. */
  oneOffs: readonly string[];
  /** Labels of the services as the files have them now. */
  serviceLabels: readonly Readonly<Record<string, string>>[];
  /** The host flag file, where it exists. */
  flagFile: string | null;
  /** Images of what runs that the engine has no more. */
  lostImages: readonly string[];
  /** The Compose files from which the present containers were made: known, or the running definition could not be made again. */
  oldFiles: 'known' | 'unknown';
  data: DataLook;
  /** Folders of the data in which nothing can be written. */
  unwritable: readonly string[];
  minFreeBytes: number;
}

/** What a snapshot of the data would be. */
export interface DataLook {
  leftOut: readonly { what: string; why: string }[];
  shared: readonly { source: string; container: string }[];
  obstacles: readonly { what: string; why: string }[];
  moved: { left: readonly string[]; found: readonly string[] };
  neededBytes: number;
  freeBytes: number;
}

export interface Gate {
  name: string;
  state: 'open' | 'closed' | 'forced';
  /** `--force` opens it. */
  soft: boolean;
  why: string | null;
}

/** Every gate with its state. A closed hard one ends the upgrade; `force` opens the soft ones, and they say so. */
export function judgeGates(seen: Preflight, { force }: { force: boolean }): Gate[] {
  return [
    hard('blocked', blockedBy(seen)),
    hard('one_off', list(seen.oneOffs, 'started by hand (docker compose run) and still running:')),
    hard('image_present', missing(seen.plan)),
    hard('data_writable', list(seen.unwritable, 'nothing can be written in')),
    hard('space', space(seen)),
    soft('old_images', list(seen.lostImages, 'the engine no longer has the image of'), force),
    soft(
      'old_files',
      seen.oldFiles === 'known'
        ? null
        : 'what runs was made from Compose files that are not known any more: a rollback would keep the present ones',
      force,
    ),
    soft('data_moved', movedWords(seen.data), force),
    soft('data_shared', sharedWords(seen.data), force),
    soft('snapshot_possible', obstacleWords(seen.data), force),
    soft('steady', unsteady(seen.containers), force),
  ];
}

function hard(name: string, why: string | null): Gate {
  return { name, soft: false, state: why === null ? 'open' : 'closed', why };
}

function soft(name: string, why: string | null, force: boolean): Gate {
  return { name, soft: true, state: why === null ? 'open' : force ? 'forced' : 'closed', why };
}

/** A person's word on the stack, or on the whole guest. */
function blockedBy({ containers, serviceLabels, flagFile }: Preflight): string | null {
  if (flagFile !== null) return `upgrades are blocked on this guest by the file ${flagFile}`;
  const labels = [...containers.map((each) => each.labels), ...serviceLabels];
  return labels.some((each) => each['felhom.upgrade'] === 'blocked')
    ? 'a service of this stack has the label felhom.upgrade=blocked'
    : null;
}

function missing({ target, changes }: UpgradePlan): string | null {
  const wanted = target.images.filter(
    ({ id, service }) => id === null && changes.some((each) => each.service === service && !each.download),
  );
  return list(
    wanted.map(({ ref }) => ref),
    'this machine has no image',
  );
}

function space({ data, minFreeBytes }: Preflight): string | null {
  const needed = data.neededBytes + minFreeBytes;
  return data.freeBytes >= needed
    ? null
    : `a snapshot of the data and the room for a rollback take ${mebibytes(needed)}, there are ${mebibytes(data.freeBytes)}`;
}

function sharedWords({ shared }: DataLook): string | null {
  return list(
    shared.map(({ source, container }) => `${source} (${container})`),
    'containers outside this stack use its data, which cannot be rolled back under them:',
  );
}

/** A new version that begins without its data is healthy, and empty. */
function movedWords({ moved }: DataLook): string | null {
  const left = list(moved.left, 'the new version would begin without the data of what runs:');
  const found = list(
    moved.found,
    'it would begin on what lies in a volume that no container has (left by a version that was taken back?):',
  );
  return left === null ? found : found === null ? left : `${left}; ${found}`;
}

function obstacleWords({ obstacles }: DataLook): string | null {
  return list(
    obstacles.map(({ what, why }) => `${what} (${why})`),
    'its data cannot be taken as a snapshot:',
  );
}

/** A stack that is not well now has no good state to come back to. */
function unsteady(containers: readonly ContainerState[]): string | null {
  const bad = containers.filter(({ status, health }) => status === 'restarting' || health.status === 'unhealthy');
  return list(
    bad.map(({ name }) => name),
    'not healthy even before the upgrade:',
  );
}

function list(names: readonly string[], words: string): string | null {
  return names.length === 0 ? null : `${words} ${[...new Set(names)].join(', ')}`;
}

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
