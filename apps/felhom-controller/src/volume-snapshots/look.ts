import { dirname, resolve } from 'node:path/posix';
import { Failure } from '@felhom/kernel/failure.ts';
import type { ComposeModel } from '../engine/compose-model.ts';
import type { ContainerState } from '../engine/engine.ts';
import type { VolumeState } from '../engine/volume-engine.ts';
import { type Candidate, candidatesOf, volumeNames } from './candidates.ts';
import type { StackProject } from './contract.ts';
import { type MovedData, movedData } from './moved-data.ts';
import type { SnapshotPorts } from './ports.ts';
import { type PathFact, planSources, type SnapshotPolicy, type SourceFacts, type SourcePlan } from './source-plan.ts';

/** A stack as docker and Compose tell it, at one moment. */
export interface StackLook {
  stack: string;
  project: StackProject;
  /** Every container of the engine; the stack's own are among them. */
  containers: ContainerState[];
  own: ContainerState[];
  model: ComposeModel | null;
  /** Everything it mounts, with what the engine says of its volumes. */
  candidates: Candidate[];
  sources: SourcePlan;
  moved: MovedData;
}

export interface LookOptions {
  policy: SnapshotPolicy;
  ownFolders: readonly string[];
  /** Where the stack has no container: its files as they were known before. */
  fallback?: StackProject;
  /** True: a Compose file that cannot be read is no reason to fail; the containers alone then tell. */
  lenient?: boolean;
}

/** Asks docker and Compose what belongs to a stack. @throws Failure `not_found`, `operation_failed`. */
export async function lookAtStack(ports: SnapshotPorts, stack: string, options: LookOptions): Promise<StackLook> {
  const containers = await ports.engine.list();
  const own = containers.filter(({ project }) => project === stack);
  const project = projectOf(own) ?? options.fallback;
  if (project === undefined) throw unknownStack(stack, containers);
  const model = await readModel(ports, stack, project, options.lenient === true);
  const names = volumeNames(own, model);
  const states = await ports.engine.volumes(names);
  const volumes = new Map(
    states.filter((state): state is VolumeState => state !== null).map((state) => [state.name, state]),
  );
  const candidates = candidatesOf(own, model, volumes);
  const facts = await gatherFacts(ports, { stack, containers, candidates }, project, options);
  const moved = movedData(facts, model);
  return { stack, project, containers, own, model, candidates, sources: planSources(facts), moved };
}

function unknownStack(stack: string, containers: readonly ContainerState[]): Failure {
  const plain = containers.some(({ name, project }) => project === null && name === stack);
  return new Failure('not_found', {
    message: plain
      ? `${stack} is a plain container and no Compose project: there are no files that say what belongs to it`
      : `docker knows no container of a Compose project called ${JSON.stringify(stack)}`,
    hint: 'felhom-controller stack list shows the projects. One whose containers were removed: docker compose up --no-start makes them again.',
  });
}

/** Where Compose found the project, as it wrote it on a container that is no one-off run. */
export function projectOf(own: readonly ContainerState[]): StackProject | undefined {
  const told = own.filter(({ composeFiles }) => composeFiles.length > 0);
  const container = told.find(({ oneoff }) => !oneoff) ?? told[0];
  if (container === undefined) return undefined;
  const { workingDir, composeFiles, envFiles } = container;
  return { workingDir, composeFiles, envFiles };
}

async function readModel(
  { engine }: SnapshotPorts,
  project: string,
  { composeFiles, envFiles, workingDir }: StackProject,
  lenient: boolean,
): Promise<ComposeModel | null> {
  try {
    return await engine.composeModel({ project, composeFiles, envFiles, workingDir });
  } catch (error) {
    if (lenient && error instanceof Failure && error.code === 'operation_failed') return null;
    throw error;
  }
}

async function gatherFacts(
  { disk }: SnapshotPorts,
  known: { stack: string; containers: readonly ContainerState[]; candidates: readonly Candidate[] },
  project: StackProject,
  { policy, ownFolders }: LookOptions,
): Promise<SourceFacts> {
  const wanted = new Set([
    ...known.candidates.flatMap(({ path, volume }) => [
      path,
      volume?.mountpoint ?? '',
      volume?.options['device'] ?? '',
    ]),
    ...known.containers.flatMap(({ mounts }) => mounts.map(({ source }) => source)),
    ...policy.include,
    ...policy.exclude,
  ]);
  const paths = new Map<string, PathFact>();
  for (const path of [...wanted].filter((each) => each.startsWith('/'))) {
    const resolved = await disk.resolve(path);
    const kind = resolved === null ? null : await disk.kindOf(resolved);
    if (resolved !== null && kind !== null) paths.set(path, { resolved, kind });
  }
  const folder = projectFolder(project);
  return {
    ...known,
    paths,
    mounts: await disk.mounts(),
    projectFolder: folder === null ? null : await disk.resolve(folder),
    policy,
    ownFolders: await Promise.all(ownFolders.map(async (own) => (await disk.resolve(own)) ?? own)),
  };
}

function projectFolder({ workingDir, composeFiles }: StackProject): string | null {
  if (workingDir !== null) return workingDir;
  const first = composeFiles[0];
  return first === undefined ? null : dirname(resolve('/', first));
}
