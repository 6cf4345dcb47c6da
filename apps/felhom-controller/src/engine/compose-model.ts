import type { CommandRunner } from '@felhom/kernel/command.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import { projectArguments, runCompose } from './compose-call.ts';
import { composeWords } from './compose-words.ts';
import type { ProjectFiles } from './stack-engine.ts';

const mount = z.looseObject({
  type: z.string(),
  /** A volume's key, or an absolute path; absent: an anonymous volume. */
  source: z.string().nullish(),
  target: z.string().nullish(),
  read_only: z.boolean().nullish(),
});

const service = z.looseObject({
  image: z.string().nullish(),
  build: z.unknown().optional(),
  pull_policy: z.string().nullish(),
  profiles: z.array(z.string()).nullish(),
  labels: z.record(z.string(), z.string()).nullish(),
  depends_on: z
    .record(z.string(), z.looseObject({ condition: z.string().nullish(), restart: z.boolean().nullish() }))
    .nullish(),
  volumes: z.array(mount).nullish(),
  network_mode: z.string().nullish(),
  pid: z.string().nullish(),
  ipc: z.string().nullish(),
});
export type ResolvedService = z.infer<typeof service>;

const fileBacked = z.looseObject({ file: z.string().nullish() });

/**
 * `docker compose config --format json` (Compose 2.20 and later), as far as anybody here reads it. Everything else
 * stays in it: Compose is given it again to make its hashes from.
 */
const resolvedModel = z.looseObject({
  name: z.string().nullish(),
  services: z.record(z.string(), service).nullish(),
  volumes: z
    .record(
      z.string(),
      z
        .looseObject({
          name: z.string().nullish(),
          driver: z.string().nullish(),
          driver_opts: z.record(z.string(), z.coerce.string()).nullish(),
        })
        .nullish(),
    )
    .nullish(),
  configs: z.record(z.string(), fileBacked).nullish(),
  secrets: z.record(z.string(), fileBacked).nullish(),
});
export type ResolvedModel = z.infer<typeof resolvedModel>;

const envFile = z.union([z.string(), z.looseObject({ path: z.string() }).transform(({ path }) => path)]);

/** Resolving puts the contents of env files in their place: only before it Compose tells which they are. */
const rawModel = z.looseObject({
  services: z
    .record(
      z.string(),
      z.looseObject({ env_file: z.union([z.array(envFile), z.string().transform((one) => [one])]).nullish() }),
    )
    .nullish(),
});

export interface ComposeModel extends ResolvedModel {
  /** Files that services take their environment from, absolute. */
  serviceEnvFiles: string[];
}

/** What Compose makes of the files, and from which env files it takes a part: asked, so that nobody else interprets them. */
export async function readComposeModel(
  commands: CommandRunner,
  socketPath: string,
  project: ProjectFiles,
): Promise<ComposeModel> {
  const [model, raw] = await Promise.all([
    readResolved(commands, socketPath, project),
    readAs(rawModel, commands, socketPath, project, ['--no-interpolate']),
  ]);
  if (model.kind === 'refused') throw unreadable(project, model.why);
  if (raw.kind === 'refused') throw unreadable(project, raw.why);
  const envFiles = Object.values(raw.model.services ?? {}).flatMap(({ env_file }) => env_file ?? []);
  return { ...model.model, serviceEnvFiles: [...new Set(envFiles.filter((path) => path.startsWith('/')))].toSorted() };
}

export type ReadModel<T> = { kind: 'read'; model: T } | { kind: 'refused'; why: string };

/** The one reader of `compose config`: every profile included, interpolated. */
export async function readResolved(
  commands: CommandRunner,
  socketPath: string,
  project: ProjectFiles,
): Promise<ReadModel<ResolvedModel>> {
  return await readAs(resolvedModel, commands, socketPath, project, []);
}

async function readAs<T>(
  schema: z.ZodType<T>,
  commands: CommandRunner,
  socketPath: string,
  project: ProjectFiles,
  flags: readonly string[],
): Promise<ReadModel<T>> {
  const args = [...projectArguments(project), '--profile', '*', 'config', '--format', 'json', ...flags];
  const at = { socketPath, workingDir: project.workingDir };
  const result = await runCompose(commands, at, args, { timeoutMs: 30_000, maxOutputBytes: 32 * 2 ** 20 });
  if (result.exitCode !== 0) return { kind: 'refused', why: composeWords(result) };
  const parsed = schema.safeParse(parseJson(result.stdout));
  return parsed.success ? { kind: 'read', model: parsed.data } : { kind: 'refused', why: 'its answer cannot be read' };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // Not what Compose prints: told as such.
  }
}

function unreadable({ project, composeFiles }: ProjectFiles, words: string): Failure {
  return new Failure('operation_failed', {
    message: `docker compose cannot read the files of ${project}: ${words}`,
    hint: `Look at: docker compose -p ${project}${composeFiles.map((file) => ` -f ${file}`).join('')} config`,
  });
}
