import type { ContainerState } from '../engine/engine.ts';
import type { ImageState, ProjectConfig, ProjectFiles, ServiceConfig } from '../engine/stack-engine.ts';

/** What a registry says of a name now. */
export type RemoteAnswer = { kind: 'digest'; digest: string } | { kind: 'unknown'; why: string; hint: string };

/** Everything that was looked at, as plain data. */
export interface StackLook {
  stack: string;
  files: ProjectFiles;
  /** Containers of the project, one-off runs left out. */
  containers: readonly ContainerState[];
  /** Names of one-off runs that run. */
  oneOffs: readonly string[];
  /** The files as they lie on disk. */
  config: ProjectConfig;
  /** The hashes that containers made from these files now would have, by service: with what the last rollback pinned. */
  comparable: ReadonlyMap<string, string>;
  /** By the reference that a service names; null: not on this machine. */
  images: ReadonlyMap<string, ImageState | null>;
  /** Only where the registry was asked. */
  remote: ReadonlyMap<string, RemoteAnswer>;
}

export interface ImageSide {
  ref: string;
  /** Null: not on this machine. */
  id: string | null;
}

export interface ServiceChange {
  service: string;
  kind: 'image' | 'definition' | 'both' | 'new' | 'removed';
  from: ImageSide | null;
  to: ImageSide | null;
  /** The image has to be fetched first. */
  download: boolean;
}

export interface UpgradePlan {
  stack: string;
  changes: ServiceChange[];
  /** References to fetch, each once. */
  download: string[];
  /** Services that are brought up: what ran, what is new, and the tasks that those wait for. */
  up: string[];
  /** Services whose containers go. */
  dropped: string[];
  target: { key: string; images: { service: string; ref: string; id: string | null }[] };
  /** What the registries did not answer. */
  unknown: { ref: string; why: string; hint: string }[];
}

/** What an upgrade of this stack would change. Nothing to change: no changes. */
export function planUpgrade(look: StackLook): UpgradePlan {
  const changes = [...look.config.services.flatMap((service) => changeOf(service, look)), ...removed(look)];
  const download = [...new Set(changes.filter((each) => each.download).map(({ to }) => to?.ref ?? ''))];
  const up = servicesToBringUp(look);
  return {
    stack: look.stack,
    changes,
    download,
    up,
    dropped: changes.filter(({ kind }) => kind === 'removed').map(({ service }) => service),
    target: targetOf(look, changes),
    unknown: [...look.remote].flatMap(([ref, answer]) =>
      answer.kind === 'unknown' ? [{ ref, why: answer.why, hint: answer.hint }] : [],
    ),
  };
}

function changeOf(service: ServiceConfig, look: StackLook): ServiceChange[] {
  const own = containersOf(look, service.name);
  const [first] = own;
  const local = look.images.get(service.image) ?? null;
  const download = needsDownload(service, local, look.remote.get(service.image));
  const to = { ref: service.image, id: local?.id ?? null };
  if (first === undefined) {
    // A service that only a profile starts, and that nobody has started, is not the upgrade's business.
    if (service.profiles.length > 0) return [];
    return [{ service: service.name, kind: 'new', from: null, to, download }];
  }
  const image = download || own.some(({ imageId }) => imageId !== to.id);
  const expected = look.comparable.get(service.name);
  // A new reference is in the hash too: then the image says it all, unless more than that has changed.
  const definition = own.some(({ configHash }) => configHash !== null && configHash !== expected);
  if (!image && !definition) return [];
  const from = { ref: first.image, id: first.imageId };
  const renamed = first.image !== service.image && !first.image.startsWith('sha256:');
  const kind = !image ? 'definition' : definition && !renamed ? 'both' : 'image';
  return [{ service: service.name, kind, from, to, download }];
}

/** Missing here, or another one by the registry's word. */
function needsDownload({ builds }: ServiceConfig, local: ImageState | null, remote: RemoteAnswer | undefined): boolean {
  if (builds) return false;
  if (local === null) return true;
  if (remote?.kind !== 'digest') return false;
  return !local.digests.some((digest) => digest.endsWith(`@${remote.digest}`));
}

function removed({ config, containers }: StackLook): ServiceChange[] {
  const known = new Set(config.services.map(({ name }) => name));
  const gone = new Map(
    containers.flatMap((each) => (each.service === null || known.has(each.service) ? [] : [[each.service, each]])),
  );
  return [...gone].map(([service, { image, imageId }]) => ({
    service,
    kind: 'removed',
    from: { ref: image, id: imageId },
    to: null,
    download: false,
  }));
}

export function containersOf(look: Pick<StackLook, 'containers'>, service: string): ContainerState[] {
  return look.containers.filter((container) => container.service === service);
}

export function ran({ status }: Pick<ContainerState, 'status'>): boolean {
  return status === 'running' || status === 'restarting' || status === 'paused';
}

/** Services that ran, those that are new, and the tasks that any of these waits for: a migration runs with the new image. */
function servicesToBringUp(look: StackLook): string[] {
  const wanted = new Set<string>();
  const byName = new Map(look.config.services.map((service) => [service.name, service]));
  const add = (name: string): void => {
    const service = byName.get(name);
    if (service === undefined || wanted.has(name)) return;
    wanted.add(name);
    for (const needed of service.dependsOn)
      if (needed.condition === 'service_completed_successfully') add(needed.service);
  };
  for (const { name, profiles } of look.config.services) {
    const own = containersOf(look, name);
    if (own.some(ran) || (own.length === 0 && profiles.length === 0)) add(name);
  }
  return [...wanted].toSorted();
}

/**
 * What is tried, by what it is made of: the digest where a registry gave one (the same before and after the download),
 * else the id. A changed definition is part of it.
 */
function targetOf(look: StackLook, changes: readonly ServiceChange[]): UpgradePlan['target'] {
  const parts = changes.map(({ service, kind, to }) => {
    const hash =
      kind === 'image' || to === null
        ? ''
        : ` ${look.config.services.find(({ name }) => name === service)?.hash ?? ''}`;
    return `${service}=${to === null ? 'removed' : contentOf(to, look)}${hash}`;
  });
  const images = changes.flatMap(({ service, to }) => (to === null ? [] : [{ service, ref: to.ref, id: to.id }]));
  return { key: parts.toSorted().join(' '), images };
}

function contentOf({ ref, id }: ImageSide, { images, remote }: StackLook): string {
  const answer = remote.get(ref);
  if (answer?.kind === 'digest') return answer.digest;
  const digest = images.get(ref)?.digests[0]?.split('@')[1];
  return digest ?? id ?? ref;
}
