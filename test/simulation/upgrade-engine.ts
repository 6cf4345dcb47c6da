import { Failure } from '@felhom/kernel/failure.ts';
import type { ContainerState } from 'felhom-controller/engine/engine.ts';
import type {
  ImageState,
  ProjectConfig,
  ProjectFiles,
  ServiceConfig,
  StackEngine,
} from 'felhom-controller/engine/stack-engine.ts';
import { type Behaviour, type FakeEngine, fakeEngine } from './fake-engine.ts';
import type { VirtualClock } from './virtual-clock.ts';

/*
 * Images, Compose and data for the upgrade simulation, on top of the engine in memory. A Compose file is JSON here. An
 * image says which schema its app brings the data to, and from which it can; a container that starts does so at once.
 */

export interface FakeImage {
  id: string;
  /** The schema of its data; null: it has none. */
  schema: number | null;
  behaviour?: Partial<Behaviour>;
  /** By which a registry knows it. */
  digests?: string[];
}

export interface FakeService {
  image: string;
  restart?: ContainerState['restartPolicy'];
  volume?: string;
  /** Containers of it, default 1. */
  replicas?: number;
  /** A volume without a name each. */
  anonymous?: boolean;
  dependsOn?: Record<string, 'service_started' | 'service_completed_successfully'>;
}

/** A volume: which schema its data has, and rows that were written before. */
export interface FakeVolume {
  schema: number;
  rows: string[];
}

export interface UpgradeEngineWorld {
  clock: VirtualClock;
  fake: FakeEngine;
  images: Map<string, FakeImage>;
  /** Names of images; a name may move, or go. */
  tags: Map<string, string>;
  /** What can be fetched, by digest. */
  registry: Map<string, FakeImage>;
  volumes: Map<string, FakeVolume>;
  files: Map<string, string>;
  violations: string[];
}

export function upgradeEngineWorld(clock: VirtualClock): UpgradeEngineWorld {
  const world: UpgradeEngineWorld = {
    clock,
    fake: fakeEngine(clock, (state) => touchData(world, state)),
    images: new Map(),
    tags: new Map(),
    registry: new Map(),
    volumes: new Map(),
    files: new Map(),
    violations: [],
  };
  return world;
}

/** What an app does to its data when it starts. */
function touchData(world: UpgradeEngineWorld, state: ContainerState): void {
  const image = [...world.images.values()].find(({ id }) => id === state.imageId);
  const name = state.mounts[0]?.volume;
  if (image?.schema == null || name == null) return;
  const volume = world.volumes.get(name);
  if (volume === undefined) {
    world.violations.push(`${state.name} found no data and made fresh ones`);
    world.volumes.set(name, { schema: image.schema, rows: [] });
  } else if (volume.schema > image.schema) {
    world.violations.push(`${state.name} (schema ${image.schema}) was started on data of schema ${volume.schema}`);
  } else {
    volume.schema = image.schema;
  }
}

export type StepThrough = <T>(name: string, work: () => Promise<T>) => Promise<T>;

/** An engine for one process: what Compose does in several steps can be cut off between them, as when its group is killed. */
export function stackEngineOver(world: UpgradeEngineWorld, step: StepThrough): StackEngine {
  const { fake, tags, images } = world;
  const imageOf = (reference: string): FakeImage | null => {
    const id = reference.startsWith('sha256:') ? reference : tags.get(reference);
    return [...images.values()].find((image) => image.id === id) ?? null;
  };
  return {
    ...fake.engine,
    image: async (reference) => {
      await fake.engine.identity();
      const found = imageOf(reference);
      return found === null ? null : toImage(found, tags);
    },
    tag: async (id, reference) => void tags.set(reference, id),
    pull: async (reference) => {
      const found = world.registry.get(reference);
      if (found !== undefined) return void images.set(found.id, found);
      throw new Failure('image_unavailable', { message: `no registry has ${reference}`, hint: '' });
    },
    remoteDigest: async (reference) => {
      throw new Failure('image_unavailable', { message: `no registry has ${reference}`, hint: '' });
    },
    setRestartPolicy: async (id, { name, retries }) => {
      await fake.engine.identity();
      return fake.setRestartPolicy(id, name, retries) ? 'updated' : 'gone';
    },
    namesOf: async (repository) => [...tags.keys()].filter((name) => name.startsWith(`${repository}:`)).toSorted(),
    untag: async (reference) => {
      const id = tags.get(reference);
      const isLast = id !== undefined && [...tags].every(([name, of]) => name === reference || of !== id);
      const isNeeded = (await fake.engine.list()).some((each) => each.imageId === id);
      if (isLast && isNeeded) return;
      tags.delete(reference);
      if (isLast) images.delete(id);
    },
    pinImage: async ({ name, imageId, labels, volumes = [] }) => {
      if (fake.state(name) !== null) return;
      fake.add({
        name,
        imageId,
        labels: { ...labels },
        status: 'created',
        restartPolicy: 'no',
        project: labels['com.docker.compose.project'] ?? null,
        service: labels['com.docker.compose.service'] ?? null,
        number: Number(labels['com.docker.compose.container-number'] ?? 0),
        configHash: labels['com.docker.compose.config-hash'] ?? null,
        mounts: volumes.map(({ volume, target }) => mountOf(volume, target)),
      });
    },
    remove: async (id) => {
      const found = (await fake.engine.list()).find((each) => each.id === id);
      if (found === undefined) return 'gone';
      fake.remove(found.name);
      return 'removed';
    },
    recreate: async ({ project, service: name, composeFiles, envFiles, workingDir }) => {
      const files = { project, composeFiles, envFiles, workingDir };
      const service = servicesOf(world, files)[name];
      const image = service === undefined ? null : imageOf(service.image);
      if (service === undefined || image === null)
        throw new Failure('operation_failed', { message: `no image for ${name}`, hint: '' });
      for (let number = 1; number <= (service.replicas ?? 1); number += 1) {
        const before = fake.state(`${project}-${name}-${number}`);
        if (before !== null) fake.remove(before.name);
        create(world, files, { name, service, image, number, anonymous: anonymousOf(before) });
      }
    },
    composeConfig: async (project, as) => readConfig(world, project, as?.images),
    composeUp: async (project, services) => await composeUp(world, project, services, { step, imageOf }),
  };
}

function toImage({ id, digests = [] }: FakeImage, tags: ReadonlyMap<string, string>): ImageState {
  return { id, tags: [...tags].flatMap(([name, of]) => (of === id ? [name] : [])), digests, sizeBytes: 1 };
}

function servicesOf(world: UpgradeEngineWorld, { composeFiles }: ProjectFiles): Record<string, FakeService> {
  const merged: Record<string, FakeService> = {};
  for (const path of composeFiles) {
    const text = world.files.get(path);
    if (text === undefined) throw new Failure('upgrade_blocked', { message: `no such file ${path}`, hint: '' });
    if (!text.startsWith('{'))
      throw new Failure('upgrade_blocked', { message: `${path} is no Compose file`, hint: '' });
    const parsed: { services: Record<string, FakeService> } = JSON.parse(text);
    for (const [name, service] of Object.entries(parsed.services)) merged[name] = { ...merged[name], ...service };
  }
  return merged;
}

function readConfig(
  world: UpgradeEngineWorld,
  project: ProjectFiles,
  images: Readonly<Record<string, string>> = {},
): ProjectConfig {
  const services = Object.entries(servicesOf(world, project)).map(
    ([name, service]): ServiceConfig => ({
      name,
      image: service.image,
      builds: false,
      pullPolicy: null,
      hash: hashOf({ ...service, image: images[name] ?? service.image }),
      livesIn: [],
      profiles: [],
      dependsOn: Object.entries(service.dependsOn ?? {}).map(([needed, condition]) => ({
        service: needed,
        condition,
        restart: false,
      })),
      labels: {},
    }),
  );
  return { services };
}

function hashOf(service: FakeService): string {
  return JSON.stringify(service);
}

/** As Compose does: replaces what differs, makes what is missing, starts what is down, waits for what has to complete. */
async function composeUp(
  world: UpgradeEngineWorld,
  project: ProjectFiles,
  services: readonly string[],
  { step, imageOf }: { step: StepThrough; imageOf: (reference: string) => FakeImage | null },
): Promise<{ trouble: string | null }> {
  const { fake } = world;
  const all = servicesOf(world, project);
  for (const name of inOrder(all, services)) {
    const service = all[name];
    const image = service === undefined ? null : imageOf(service.image);
    if (service === undefined || image === null) return { trouble: `no image for ${name}` };
    for (let number = 1; number <= (service.replicas ?? 1); number += 1) {
      const container = `${project.project}-${name}-${number}`;
      const before = fake.state(container);
      const isSame = before !== null && before.configHash === hashOf(service) && before.imageId === image.id;
      if (before !== null && !isSame) {
        await step('compose.stop', async () => await fake.engine.stop(before.id, { boundMs: 20_000 }));
        await step('compose.remove', async () => fake.remove(container));
      }
      const made = { name, service, image, number, anonymous: anonymousOf(before) };
      if (!isSame) await step('compose.create', async () => create(world, project, made));
      const id = fake.state(container)?.id ?? '';
      try {
        await step('compose.start', async () => await fake.engine.start(id, { boundMs: 5_000 }));
      } catch (error) {
        // Compose says so by its exit code, and goes no further.
        if (error instanceof Failure && error.code === 'operation_failed') return { trouble: error.message };
        throw error;
      }
    }
    if (Object.values(all).some(({ dependsOn }) => dependsOn?.[name] === 'service_completed_successfully')) {
      await step('compose.wait', async () => await world.clock.sleep(500));
    }
  }
  return { trouble: null };
}

function inOrder(all: Record<string, FakeService>, services: readonly string[]): string[] {
  const done: string[] = [];
  const add = (name: string): void => {
    if (done.includes(name) || !services.includes(name)) return;
    for (const needed of Object.keys(all[name]?.dependsOn ?? {})) add(needed);
    done.push(name);
  };
  services.forEach(add);
  return done;
}

/** What Compose hands on from the container that it replaces. */
function anonymousOf(before: ContainerState | null): string | null {
  return before?.mounts.find(({ volume }) => volume !== null && /^[0-9a-f]{64}$/.test(volume))?.volume ?? null;
}

function mountOf(volume: string, destination: string): ContainerState['mounts'][number] {
  return { kind: 'volume', source: `/volumes/${volume}`, destination, volume, writable: true };
}

let volumesMade = 0;

export function create(
  world: UpgradeEngineWorld,
  project: ProjectFiles,
  made: { name: string; service: FakeService; image: FakeImage; number: number; anonymous: string | null },
): void {
  const { name, service, image, number } = made;
  volumesMade += 1;
  const fresh = volumesMade.toString(16).padStart(64, '0');
  const volume = service.anonymous === true ? (made.anonymous ?? fresh) : service.volume;
  world.fake.add({
    name: `${project.project}-${name}-${number}`,
    project: project.project,
    service: name,
    number,
    imageId: image.id,
    image: service.image,
    status: 'created',
    restartPolicy: service.restart ?? 'no',
    composeFiles: [...project.composeFiles],
    workingDir: project.workingDir,
    configHash: hashOf(service),
    dependencies: Object.entries(service.dependsOn ?? {}).map(([needed, condition]) => ({
      service: needed,
      condition,
      restart: false,
    })),
    mounts: volume === undefined ? [] : [mountOf(volume, '/data')],
    behaviour: image.behaviour ?? {},
  });
}
