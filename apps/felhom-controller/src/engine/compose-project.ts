import type { CommandRunner } from '@felhom/kernel/command.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { projectArguments, runCompose } from './compose-call.ts';
import { type ResolvedModel, type ResolvedService, readResolved } from './compose-model.ts';
import { composeWords } from './compose-words.ts';
import type { Dependency } from './engine.ts';
import type {
  ComposeUpEnd,
  ComposeUpRequest,
  HashedAs,
  ProjectConfig,
  ProjectFiles,
  ServiceConfig,
} from './stack-engine.ts';

/**
 * The project as Compose understands it, every profile included: a service that runs by its profile belongs to the
 * stack. The hashes are those that Compose writes on the containers it makes. `config --hash` of the files is another
 * one where a service has an `env_file`: only of the resolved model it is the same (measured, Compose 2.26).
 */
export async function readProject(
  commands: CommandRunner,
  socketPath: string,
  project: ProjectFiles,
  as: HashedAs = {},
): Promise<ProjectConfig> {
  const read = await readResolved(commands, socketPath, project);
  if (read.kind === 'refused') throw invalid(project, read.why);
  const resolved = { ...project, composeFiles: ['-'], envFiles: [] };
  const result = await runCompose(
    commands,
    { socketPath, workingDir: project.workingDir },
    [...projectArguments(resolved), '--profile', '*', 'config', '--hash', '*'],
    { timeoutMs: 30_000, input: JSON.stringify(hashedAs(read.model, as)) },
  );
  if (result.exitCode !== 0) throw invalid(project, composeWords(result));
  return { services: toServices(project.project, read.model, parseHashes(result.stdout)) };
}

/** The model as Compose hashes it where images, or the containers in which others live, are these. */
function hashedAs(model: ResolvedModel, { images = {}, containers = {} }: HashedAs): ResolvedModel {
  const services = Object.entries(model.services ?? {}).map(([name, service]) => {
    const image = images[name];
    const named = image === undefined ? service : { ...service, image };
    return [name, withContainers(named, containers)] as const;
  });
  return { ...model, services: Object.fromEntries(services) };
}

const namespaces = ['network_mode', 'pid', 'ipc'] as const;

/**
 * As Compose does before it makes or compares a container (`resolveServiceReferences`, Compose 2.20 to 2.40). It does so with
 * `volumes_from` too, which no file can say: such a service always looks changed.
 */
function withContainers(service: ResolvedService, containers: Readonly<Record<string, string>>): ResolvedService {
  const changed = { ...service };
  for (const key of namespaces) {
    const id = containers[serviceIn(service[key]) ?? ''];
    if (id !== undefined) changed[key] = `container:${id}`;
  }
  return changed;
}

/** The NAME of `service:NAME`. */
function serviceIn(mode: string | null | undefined): string | null {
  return mode?.startsWith('service:') === true ? mode.slice('service:'.length) : null;
}

function livesIn(service: ResolvedService): string[] {
  return [...new Set(namespaces.flatMap((key) => serviceIn(service[key]) ?? []))].toSorted();
}

function toServices(
  project: string,
  { services }: ResolvedModel,
  hashes: ReadonlyMap<string, string>,
): ServiceConfig[] {
  return Object.entries(services ?? {}).map(([name, service]) => ({
    name,
    image: service.image ?? `${project}-${name}`,
    builds: service.build !== undefined && service.build !== null,
    pullPolicy: service.pull_policy ?? null,
    hash: hashes.get(name) ?? '',
    livesIn: livesIn(service),
    profiles: service.profiles ?? [],
    dependsOn: Object.entries(service.depends_on ?? {}).map(([needed, { condition, restart }]) => ({
      service: needed,
      condition: conditionOf(condition),
      restart: restart === true,
    })),
    labels: service.labels ?? {},
  }));
}

function conditionOf(text: string | null | undefined): Dependency['condition'] {
  return text === 'service_healthy' || text === 'service_completed_successfully' ? text : 'service_started';
}

/** `db 4f2a…`, a line a service. */
function parseHashes(text: string): Map<string, string> {
  return new Map(
    text.split('\n').flatMap((line) => {
      const [name, hash] = line.trim().split(/\s+/);
      return name === undefined || hash === undefined ? [] : [[name, hash] as const];
    }),
  );
}

/**
 * `up --detach` of exactly these services. Compose replaces what is not as the files say and takes over the anonymous
 * volumes of what it replaces. It waits where `depends_on` asks for health or completion.
 */
export async function upServices(
  commands: CommandRunner,
  socketPath: string,
  project: ProjectFiles,
  services: readonly string[],
  { boundMs, inheritFds }: ComposeUpRequest,
): Promise<ComposeUpEnd> {
  const args = [...projectArguments(project), ...upArguments, '--', ...services];
  const at = { socketPath, workingDir: project.workingDir };
  const result = await runCompose(commands, at, args, { timeoutMs: boundMs, inheritFds });
  return { trouble: result.exitCode === 0 ? null : composeWords(result) };
}

const upArguments = ['up', '--detach', '--no-deps', '--no-build', '--pull', 'never', '--quiet-pull'];

function invalid({ project, composeFiles }: ProjectFiles, why: string): Failure {
  return new Failure('upgrade_blocked', {
    message: `docker compose does not accept the files of ${project}: ${why}; nothing was stopped`,
    hint: `Correct them (${composeFiles.join(', ')}); docker compose -p ${project} config shows every mistake.`,
  });
}
