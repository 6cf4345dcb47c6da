import { dirname, join, resolve } from 'node:path/posix';
import { parse } from 'yaml';
import { z } from 'zod';
import type { ComposeModel } from '../engine/compose-model.ts';
import type { KeptFile } from './manifest.ts';
import type { SnapshotDisk, StackProject } from './ports.ts';

/** A file that makes a stack what it is, besides its data. */
export interface ProjectFile {
  path: string;
  role: KeptFile['role'];
}

const included = z.object({
  include: z
    .array(z.union([z.string(), z.object({ path: z.union([z.string(), z.array(z.string())]) })]))
    .nullish()
    .catch(null),
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
  disk: SnapshotDisk,
  { workingDir, composeFiles, envFiles }: StackProject,
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
    for (const other of await includedBy(disk, path)) await walk(other, depth + 1);
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

async function includedBy(disk: SnapshotDisk, path: string): Promise<string[]> {
  const file = await disk.read(path);
  const parsed = included.safeParse(asYaml(file?.bytes));
  if (!parsed.success) return [];
  const includes = (parsed.data.include ?? []).flatMap((entry) => (typeof entry === 'string' ? [entry] : entry.path));
  const extended = Object.values(parsed.data.services ?? {}).flatMap((service) => service?.extends?.file ?? []);
  return [...includes, ...extended].filter((each) => !each.includes('$')).map((each) => resolve(dirname(path), each));
}

function asYaml(bytes: Uint8Array | undefined): unknown {
  try {
    return parse(Buffer.from(bytes ?? []).toString('utf8'), { merge: true });
  } catch {
    // Compose has read it already; what YAML of ours cannot read includes nothing that we could name.
    return null;
  }
}
