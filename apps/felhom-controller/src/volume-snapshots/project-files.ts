import { dirname, join, resolve } from 'node:path/posix';
import { parse } from 'yaml';
import { z } from 'zod';
import type { ComposeModel } from '../engine/compose-model.ts';
import type { ProjectFiles } from '../engine/stack-engine.ts';
import type { KeptFile } from './manifest.ts';
import type { SnapshotDisk } from './ports.ts';

/** A file that makes a stack what it is, besides its data. */
export interface ProjectFile {
  path: string;
  role: KeptFile['role'];
}

const oneOrMore = z.union([z.string().transform((one) => [one]), z.array(z.string())]);

/** `include` in its short form, and in its long one. */
const include = z.union([
  z.string().transform((path) => ({ path: [path] })),
  z.object({
    path: oneOrMore,
    project_directory: z.string().optional(),
    env_file: oneOrMore.optional(),
  }),
]);

const included = z.object({
  include: z.array(include).nullish().catch(null),
  services: z
    .record(z.string(), z.object({ extends: z.object({ file: z.string() }).optional().catch(undefined) }).nullish())
    .nullish()
    .catch(null),
});

/** As deep as files may include others; Compose itself refuses circles. */
const deepest = 8;

/**
 * Compose files with what they include and extend, `.env`, and the files that services take their environment from.
 * Only those that are there. A path that only Compose can tell (with variables in it) is left out.
 */
export async function projectFiles(
  disk: Pick<SnapshotDisk, 'kindOf' | 'read'>,
  { workingDir, composeFiles, envFiles }: Pick<ProjectFiles, 'workingDir' | 'composeFiles' | 'envFiles'>,
  model: ComposeModel | null,
): Promise<ProjectFile[]> {
  const found = new Map<string, ProjectFile>();
  const add = async (path: string, role: KeptFile['role']): Promise<boolean> => {
    if (found.has(path) || (await disk.kindOf(path)) !== 'file') return false;
    found.set(path, { path, role });
    return true;
  };
  const walk = async (path: string, depth: number): Promise<void> => {
    if (!(await add(path, 'compose')) || depth >= deepest) return;
    const named = await namedIn(disk, path);
    for (const other of named.compose) await walk(other, depth + 1);
    for (const other of named.env) await add(other, 'env');
  };
  for (const file of composeFiles) await walk(resolve('/', file), 0);
  const folder = workingDir ?? (composeFiles[0] === undefined ? null : dirname(composeFiles[0]));
  // Without --env-file Compose reads .env; with it only what was named.
  if (envFiles.length === 0 && folder !== null) await add(join(folder, '.env'), 'env');
  for (const file of envFiles) await add(resolve(folder ?? '/', file), 'env');
  for (const file of model?.serviceEnvFiles ?? []) await add(file, 'env_file');
  for (const each of [...Object.values(model?.configs ?? {}), ...Object.values(model?.secrets ?? {})])
    if (each.file?.startsWith('/') === true) await add(each.file, 'env_file');
  return [...found.values()].toSorted((left, right) => left.path.localeCompare(right.path));
}

/** Compose files that this one includes or extends, and the env files with which it includes them. */
async function namedIn(disk: Pick<SnapshotDisk, 'read'>, path: string): Promise<Record<'compose' | 'env', string[]>> {
  const file = await disk.read(path);
  const parsed = included.safeParse(asYaml(file?.bytes));
  if (!parsed.success) return { compose: [], env: [] };
  const folder = dirname(path);
  const known = (names: readonly string[]): string[] =>
    names.filter((each) => !each.includes('$')).map((each) => resolve(folder, each));
  const extended = Object.values(parsed.data.services ?? {}).flatMap((service) => service?.extends?.file ?? []);
  const compose = known(extended);
  const env: string[] = [];
  for (const entry of parsed.data.include ?? []) {
    const paths = known(entry.path);
    compose.push(...paths);
    if ('env_file' in entry && entry.env_file !== undefined) env.push(...known(entry.env_file));
    else env.push(...paths.slice(0, 1).map((first) => join(homeOf(entry, folder) ?? dirname(first), '.env')));
  }
  return { compose, env };
}

/** Where a project that is included has its own folder; null: beside its first file. */
function homeOf(entry: z.infer<typeof include>, folder: string): string | null {
  const named = 'project_directory' in entry ? entry.project_directory : undefined;
  return named === undefined || named.includes('$') ? null : resolve(folder, named);
}

function asYaml(bytes: Uint8Array | undefined): unknown {
  try {
    return parse(Buffer.from(bytes ?? []).toString('utf8'), { merge: true });
  } catch {
    // Compose has read it already; what YAML of ours cannot read includes nothing that we could name.
    return null;
  }
}
