import { Failure } from '@felhom/kernel/failure.ts';
import type { ContainerState } from '../engine/engine.ts';
import type { ProjectConfig, ProjectFiles, StackEngine } from '../engine/stack-engine.ts';
import type { UpgradePorts } from './ports.ts';
import { type RemoteAnswer, ran, type StackLook } from './upgrade-plan.ts';

export interface LookOptions {
  /** Ask the registries what their names mean now. */
  askRegistry: boolean;
  registryMs: number;
}

/**
 * Looks at a stack: its containers, its files as Compose understands them, the images on this machine, and what the
 * registries say. Touches nothing. @throws Failure `not_found`, `upgrade_blocked` (files that Compose refuses).
 */
export async function lookAtStack(
  { engine, memory, files }: Pick<UpgradePorts, 'engine' | 'memory' | 'files'>,
  stack: string,
  options: LookOptions,
): Promise<StackLook> {
  const own = (await engine.list()).filter(({ project }) => project === stack);
  const containers = own.filter(({ oneoff }) => !oneoff);
  if (containers.length === 0) throw unknownStack(stack);
  const pins = memory.pinsPath(stack);
  const project = filesOf(stack, containers, pins);
  const config = await engine.composeConfig(project);
  const images = new Map(
    await Promise.all(config.services.map(async ({ image }) => [image, await engine.image(image)] as const)),
  );
  return {
    stack,
    files: project,
    containers,
    oneOffs: own.filter((each) => each.oneoff && ran(each)).map(({ name }) => name),
    config,
    images,
    comparable: await comparableHashes({ engine, files }, { containers, project, config, pins }),
    remote: options.askRegistry ? await askRegistries(engine, config, images, options.registryMs) : new Map(),
  };
}

/** Where the stack's files are by the labels of its containers; the file of ours that a rollback added is left out. */
export function filesOf(stack: string, containers: readonly ContainerState[], pins: string): ProjectFiles {
  const own = containers.map((each) => each.composeFiles.filter((path) => path !== pins));
  const [first = []] = own;
  const other = own.find((paths) => paths.join(',') !== first.join(','));
  if (first.length === 0 || other !== undefined) {
    throw new Failure('upgrade_blocked', {
      message:
        first.length === 0
          ? `${stack} was not made by Compose from files that can be found; nothing was stopped`
          : `the containers of ${stack} were made from different files (${first.join(', ')}; ${other?.join(', ')}); nothing was stopped`,
      hint: `Bring the stack up from its files once: docker compose -p ${stack} up -d; then run the same command again.`,
    });
  }
  const [container] = containers;
  return {
    project: stack,
    composeFiles: first,
    envFiles: container?.envFiles ?? [],
    workingDir: container?.workingDir ?? null,
  };
}

/**
 * Compose hashes the containers in which others live, and containers that a rollback made have a hash over its pins too:
 * what runs is compared with the files as they would be hashed with these.
 */
async function comparableHashes(
  { engine, files }: Pick<UpgradePorts, 'engine' | 'files'>,
  seen: { containers: readonly ContainerState[]; project: ProjectFiles; config: ProjectConfig; pins: string },
): Promise<Map<string, string>> {
  const as = { containers: firstContainers(seen.containers) };
  const isAlone = seen.config.services.every(({ livesIn }) => livesIn.length === 0);
  const { services } = isAlone ? seen.config : await engine.composeConfig(seen.project, as);
  const hashes = new Map(services.map(({ name, hash }) => [name, hash]));
  const pinned = seen.containers.filter(({ composeFiles }) => composeFiles.includes(seen.pins));
  if (pinned.length === 0 || !(await files.exists(seen.pins))) return hashes;
  const withPins = await engine
    .composeConfig({ ...seen.project, composeFiles: [...seen.project.composeFiles, seen.pins] }, as)
    .catch(() => null); // The pins no longer fit the files: then the files have changed.
  for (const { service } of pinned) {
    const hash = withPins?.services.find(({ name }) => name === service)?.hash;
    if (service !== null && hash !== undefined) hashes.set(service, hash);
  }
  return hashes;
}

/** By service, the id of the container that Compose takes for it where another one lives in it. */
export function firstContainers(containers: readonly ContainerState[]): Record<string, string> {
  const byNumber = containers.toSorted((left, right) => (right.number ?? 0) - (left.number ?? 0));
  return Object.fromEntries(byNumber.flatMap(({ service, id }) => (service === null ? [] : [[service, id]])));
}

/** Only names that a registry has given an image before, or that this machine does not have. */
async function askRegistries(
  engine: StackEngine,
  config: ProjectConfig,
  images: StackLook['images'],
  boundMs: number,
): Promise<Map<string, RemoteAnswer>> {
  const asked = config.services.filter(({ image, builds, pullPolicy }) => {
    if (builds || pullPolicy === 'never' || /^sha256:|@sha256:/.test(image)) return false;
    const local = images.get(image);
    return local == null || local.digests.length > 0;
  });
  const names = [...new Set(asked.map(({ image }) => image))];
  const answers = names.map(async (name) => [name, await askRegistry(engine, name, boundMs)] as const);
  return new Map(await Promise.all(answers));
}

async function askRegistry(engine: StackEngine, name: string, boundMs: number): Promise<RemoteAnswer> {
  try {
    return { kind: 'digest', digest: await engine.remoteDigest(name, { boundMs }) };
  } catch (error) {
    if (error instanceof Failure && error.code === 'image_unavailable')
      return { kind: 'unknown', why: error.message, hint: error.hint };
    throw error;
  }
}

/** @throws Failure `not_found`. */
export async function requireStack({ list }: Pick<StackEngine, 'list'>, stack: string): Promise<void> {
  if (!(await list()).some(({ project }) => project === stack)) throw unknownStack(stack);
}

function unknownStack(stack: string): Failure {
  return new Failure('not_found', {
    message: `docker knows no Compose project ${JSON.stringify(stack)}; nothing was stopped`,
    hint: 'felhom-controller stack list shows the stacks of this guest.',
  });
}
