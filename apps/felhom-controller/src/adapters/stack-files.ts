import { constants } from 'node:fs';
import { access, readFile, realpath, stat, statfs } from 'node:fs/promises';
import { replaceFile } from '@felhom/durable/replace-file.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import type { ProjectFiles } from '../engine/stack-engine.ts';
import type { VolumeEngine } from '../engine/volume-engine.ts';
import type { KeptFile } from '../upgrade/debt.ts';
import type { FilesPort } from '../upgrade/ports.ts';
import { projectFiles } from '../volume-snapshots/project-files.ts';

/** Compose and env files of stacks; the engine is asked what belongs to a project. */
export function stackFiles(
  engine: Pick<VolumeEngine, 'composeModel'>,
): Omit<FilesPort, 'roomFor' | 'reserve' | 'release'> {
  return {
    belonging: async (project) => await belonging(engine, project),
    keep: async (paths) => {
      const kept = await Promise.all([...new Set(paths)].map(keepOne));
      return kept.filter((file) => file !== null);
    },
    putBack,
    exists: async (path) => await isThere(path, constants.F_OK),
    unwritable: async (folders, minFreeBytes) => {
      const bad: string[] = [];
      for (const folder of folders) if (!(await canBeWritten(folder, minFreeBytes))) bad.push(folder);
      return bad;
    },
  };
}

async function putBack({ path, base64, mode, uid, gid }: KeptFile): Promise<void> {
  // Through a link: what it leads to is replaced, and it stays a link.
  const place = await realpath(path).catch(() => path); // Gone: it is made anew.
  await replaceFile(place, Buffer.from(base64, 'base64'), { mode: mode & 0o7777, owner: { uid, gid } });
}

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

/** Links are followed: a Compose file may be one. */
const disk = {
  kindOf: async (path: string) => {
    const seen = await stat(path).catch(() => null); // Not there, or out of reach.
    return seen === null ? null : seen.isFile() ? ('file' as const) : ('other' as const);
  },
  read: async (path: string) => {
    const file = await keepOne(path);
    return file === null ? null : { ...file, bytes: Buffer.from(file.base64, 'base64') };
  },
};

/** Compose files with what they include and extend, and every env file. */
async function belonging(engine: Pick<VolumeEngine, 'composeModel'>, project: ProjectFiles): Promise<string[]> {
  const model = await engine.composeModel(project).catch((error: unknown) => {
    if (error instanceof Failure && error.code === 'operation_failed') return null; // Compose has said so, or will.
    throw error;
  });
  return (await projectFiles(disk, project, model)).map(({ path }) => path);
}
