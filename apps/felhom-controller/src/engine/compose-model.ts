import type { CommandRunner } from '@felhom/kernel/command.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import { composeEnvironment } from './compose.ts';

/** A Compose project by its files, as Compose wrote them on its containers. */
export interface ComposeProject {
  name: string;
  composeFiles: readonly string[];
  envFiles: readonly string[];
  workingDir: string | null;
}

const mount = z.looseObject({
  type: z.string(),
  /** A volume's key, or an absolute path; absent: an anonymous volume. */
  source: z.string().nullish(),
  target: z.string().nullish(),
  read_only: z.boolean().nullish(),
});

const envFile = z.union([z.string(), z.looseObject({ path: z.string() }).transform(({ path }) => path)]);

const service = z.looseObject({
  image: z.string().nullish(),
  volumes: z.array(mount).nullish(),
  env_file: z.union([z.array(envFile), z.string().transform((one) => [one])]).nullish(),
});

const fileBacked = z.looseObject({ file: z.string().nullish() });

/** `docker compose config --format json` (Compose 2.6 and later), as far as we read it; everything else stays in it. */
const composeModel = z.looseObject({
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

export interface ComposeModel extends z.infer<typeof composeModel> {
  /** Files that services take their environment from, absolute. Compose tells them only before interpolation. */
  serviceEnvFiles: string[];
}

const boundMs = 30_000;

/** What Compose makes of the files: asked, so that nobody else interprets them. */
export async function readComposeModel(
  commands: CommandRunner,
  socketPath: string,
  project: ComposeProject,
): Promise<ComposeModel> {
  const ask = async (flags: readonly string[]): Promise<z.infer<typeof composeModel>> => {
    const result = await commands.run('docker', modelArguments(project, flags), {
      cwd: '/',
      env: composeEnvironment(process.env, socketPath),
      timeoutMs: boundMs,
      maxOutputBytes: 16 * 1024 * 1024,
    });
    if (result.exitCode !== 0) throw refused(project, result.spawnError?.message ?? lastLine(result.stderr));
    return parse(project, result.stdout);
  };
  const [model, raw] = await Promise.all([ask([]), ask(['--no-interpolate'])]);
  const envFiles = Object.values(raw.services ?? {}).flatMap(({ env_file }) => env_file ?? []);
  return { ...model, serviceEnvFiles: [...new Set(envFiles.filter((path) => path.startsWith('/')))].toSorted() };
}

export function modelArguments(project: ComposeProject, flags: readonly string[]): string[] {
  const { name, composeFiles, envFiles, workingDir } = project;
  return [
    'compose',
    ...['--profile', '*', '-p', name],
    ...(workingDir === null ? [] : ['--project-directory', workingDir]),
    ...composeFiles.flatMap((file) => ['-f', file]),
    ...envFiles.flatMap((file) => ['--env-file', file]),
    ...['config', '--format', 'json', ...flags],
  ];
}

function parse(project: ComposeProject, text: string): z.infer<typeof composeModel> {
  try {
    return composeModel.parse(JSON.parse(text));
  } catch (cause) {
    throw refused(project, 'its answer cannot be read', cause);
  }
}

function refused({ name, composeFiles }: ComposeProject, words: string, cause?: unknown): Failure {
  return new Failure('operation_failed', {
    message: `docker compose cannot read the files of ${name}: ${words}`,
    hint: `Look at: docker compose -p ${name}${composeFiles.map((file) => ` -f ${file}`).join('')} config`,
    ...(cause === undefined ? {} : { cause }),
  });
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
