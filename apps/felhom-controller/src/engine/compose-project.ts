import type { CommandResult, CommandRunner } from '@felhom/kernel/command.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import { composeEnvironment } from './compose.ts';
import type { Dependency } from './engine.ts';
import type { ComposeUpEnd, ComposeUpRequest, ProjectConfig, ProjectFiles, ServiceConfig } from './stack-engine.ts';

const askBoundMs = 30_000;
const configBytes = 32 * 1024 * 1024;

/** `docker compose config`, as far as we read it (Compose 2.20 and later). */
const configAnswer = z.object({
  services: z
    .record(
      z.string(),
      z.object({
        image: z.string().nullish(),
        build: z.unknown().optional(),
        pull_policy: z.string().nullish(),
        profiles: z.array(z.string()).nullish(),
        labels: z.record(z.string(), z.string()).nullish(),
        depends_on: z
          .record(z.string(), z.object({ condition: z.string().nullish(), restart: z.boolean().nullish() }))
          .nullish(),
      }),
    )
    .nullish(),
});

/**
 * The project as Compose understands it, every profile included: a service that runs by its profile belongs to the
 * stack. The hashes are those that Compose writes on the containers it makes. `config --hash` of the files is another
 * one where a service has an `env_file`: only of the resolved model it is the same (measured, Compose 2.26).
 */
export async function readProject(
  commands: CommandRunner,
  socketPath: string,
  project: ProjectFiles,
  images: Readonly<Record<string, string>> = {},
): Promise<ProjectConfig> {
  const run = async (files: ProjectFiles, more: readonly string[], input?: string): Promise<string> => {
    const args = [...projectArguments(files), '--profile', '*', 'config', ...more];
    const options = { timeoutMs: askBoundMs, maxOutputBytes: configBytes, ...(input === undefined ? {} : { input }) };
    const result = await runCompose(commands, socketPath, args, options);
    if (result.exitCode === 0) return result.stdout;
    throw invalid(project, words(result));
  };
  const model = parseJson(await run(project, ['--format', 'json']));
  const parsed = configAnswer.safeParse(model);
  if (!parsed.success) throw invalid(project, 'its answer cannot be read');
  const resolved = { ...project, composeFiles: ['-'], envFiles: [] };
  const hashes = await run(resolved, ['--hash', '*'], JSON.stringify(withImages(model, images)));
  return { services: toServices(project.project, parsed.data, parseHashes(hashes)) };
}

/** The model with other images: what the hashes would be if only they differed. */
function withImages(model: unknown, images: Readonly<Record<string, string>>): unknown {
  const { services } = looseModel.parse(model);
  for (const [name, image] of Object.entries(images)) {
    const service = services?.[name];
    if (service !== undefined) service['image'] = image;
  }
  return typeof model === 'object' ? { ...model, services } : model;
}

const looseModel = z.looseObject({ services: z.record(z.string(), z.record(z.string(), z.unknown())).nullish() });

function toServices(
  project: string,
  { services }: z.infer<typeof configAnswer>,
  hashes: ReadonlyMap<string, string>,
): ServiceConfig[] {
  return Object.entries(services ?? {}).map(([name, service]) => ({
    name,
    image: service.image ?? `${project}-${name}`,
    builds: service.build !== undefined && service.build !== null,
    pullPolicy: service.pull_policy ?? null,
    hash: hashes.get(name) ?? '',
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
  const result = await runCompose(commands, socketPath, args, { timeoutMs: boundMs, inheritFds });
  return { trouble: result.exitCode === 0 ? null : words(result) };
}

const upArguments = ['up', '--detach', '--no-deps', '--no-build', '--pull', 'never', '--quiet-pull'];

export function projectArguments({ project, composeFiles, envFiles, workingDir }: ProjectFiles): string[] {
  return [
    'compose',
    ...['--ansi', 'never', '--progress', 'plain', '-p', project],
    ...(workingDir === null ? [] : ['--project-directory', workingDir]),
    ...composeFiles.flatMap((file) => ['-f', file]),
    ...envFiles.flatMap((file) => ['--env-file', file]),
  ];
}

async function runCompose(
  commands: CommandRunner,
  socketPath: string,
  args: readonly string[],
  options: { timeoutMs: number; input?: string; inheritFds?: readonly number[]; maxOutputBytes?: number },
): Promise<CommandResult> {
  return await commands.run('docker', args, {
    cwd: '/',
    env: composeEnvironment(process.env, socketPath),
    ...options,
  });
}

/** What a program said last, or why it said nothing. */
export function words(result: CommandResult): string {
  if (result.timedOut) return 'it took too long';
  if (result.spawnError !== undefined) return result.spawnError.message;
  const lines = result.stderr.trim().split('\n');
  return (lines.findLast((line) => /error|fail|invalid|unhealthy|denied/i.test(line)) ?? lines.at(-1) ?? '')
    .trim()
    .slice(0, 500);
}

function invalid({ project, composeFiles }: ProjectFiles, why: string): Failure {
  return new Failure('upgrade_blocked', {
    message: `docker compose does not accept the files of ${project}: ${why}; nothing was stopped`,
    hint: `Correct them (${composeFiles.join(', ')}); docker compose -p ${project} config shows every mistake.`,
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // Not what Compose prints: told as such.
  }
}
