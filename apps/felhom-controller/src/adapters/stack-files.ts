import { constants } from 'node:fs';
import { access, chmod, chown, readFile, realpath, stat, statfs } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { replaceFile } from '@felhom/durable/replace-file.ts';
import { parse } from 'yaml';
import { z } from 'zod';
import type { ProjectFiles } from '../engine/stack-engine.ts';
import type { KeptFile } from '../upgrade/debt.ts';
import type { FilesPort } from '../upgrade/ports.ts';

/** Compose and env files of stacks. */
export const stackFiles: Omit<FilesPort, 'reserve' | 'release'> = {
  belonging: async (project) => await belonging(project),
  keep: async (paths) => {
    const kept = await Promise.all([...new Set(paths)].map(keepOne));
    return kept.filter((file) => file !== null);
  },
  putBack: async ({ path, base64, mode, uid, gid }) => {
    // Through a link: what it leads to is replaced, and it stays a link.
    const place = await realpath(path).catch(() => path); // Gone: it is made anew.
    await replaceFile(place, Buffer.from(base64, 'base64'));
    await chown(place, uid, gid);
    await chmod(place, mode & 0o7777);
  },
  exists: async (path) => await isThere(path, constants.F_OK),
  unwritable: async (folders, minFreeBytes) => {
    const bad: string[] = [];
    for (const folder of folders) if (!(await canBeWritten(folder, minFreeBytes))) bad.push(folder);
    return bad;
  },
};

async function keepOne(path: string): Promise<KeptFile | null> {
  try {
    const [bytes, seen] = [await readFile(path), await stat(path)];
    return { path, mode: seen.mode & 0o7777, uid: seen.uid, gid: seen.gid, base64: bytes.toString('base64') };
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'EISDIR')) return null;
    throw error;
  }
}

async function canBeWritten(folder: string, minFreeBytes: number): Promise<boolean> {
  // For root, W_OK says one thing: whether the file system is mounted read-only (access(2), EROFS).
  if (!(await isThere(folder, constants.W_OK))) return false;
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize >= minFreeBytes;
}

async function isThere(path: string, mode: number): Promise<boolean> {
  return await access(path, mode).then(
    () => true,
    () => false,
  );
}

const named = z.union([z.string(), z.looseObject({ path: z.string() })]);
const oneOrMore = z.union([named, z.array(named)]);
const composeFile = z.looseObject({
  include: z.array(z.unknown()).nullish(),
  services: z
    .record(
      z.string(),
      z.looseObject({
        env_file: oneOrMore.nullish(),
        extends: z.looseObject({ file: z.string().optional() }).nullish(),
      }),
    )
    .nullish(),
});

/** Compose's own answer names no env files any more (they are resolved in it): they are read from the files. */
async function belonging({ composeFiles, envFiles, workingDir }: ProjectFiles): Promise<string[]> {
  const folder = workingDir ?? dirname(composeFiles[0] ?? '/');
  const more = await Promise.all(composeFiles.map(async (path) => await namedIn(path)));
  const found = [...composeFiles, ...envFiles, join(folder, '.env'), ...more.flat()];
  return [...new Set(found.map((path) => resolve(folder, path)))];
}

async function namedIn(path: string): Promise<string[]> {
  const text = await readFile(path, 'utf8').catch(() => ''); // Gone: Compose has said so.
  const parsed = composeFile.safeParse(parseYaml(text));
  if (!parsed.success) return [];
  return Object.values(parsed.data.services ?? {}).flatMap((service) => {
    const { env_file: env, extends: base } = service;
    const files = env == null ? [] : Array.isArray(env) ? env : [env];
    const names = files.map((each) => (typeof each === 'string' ? each : each.path));
    return base?.file === undefined ? names : [...names, base.file];
  });
}

function parseYaml(text: string): unknown {
  try {
    return parse(text);
  } catch {
    return null; // Compose has said so, or will.
  }
}
