import { existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { runProgram } from '../vzdump/programs.ts';

/** A folder inside a guest's files that belongs to the simulator, not to the guest. */
export const ownFolder = '.pve-sim';

const subvolumeInode = 256;

/** True when `dir` is the root of a btrfs subvolume: then a snapshot is a real one. */
export async function isSubvolume(dir: string): Promise<boolean> {
  if (statSync(dir).ino !== subvolumeInode) return false;
  let type = '';
  await runProgram('stat', ['-f', '-c', '%T', dir], { line: (text) => (type += text) });
  return type === 'btrfs';
}

/** Captures `dir` as it is now and answers where the capture is. What is no subvolume is copied, which takes its time. */
export async function takeSnapshot(dir: string, name: string): Promise<string> {
  await runProgram('sync', ['-f', dir]);
  const beside = join(dirname(dir), `.${basename(dir)}@${name}`);
  const inside = join(dir, ownFolder, name);
  if (!(await isSubvolume(dir))) return copyTree(dir, beside);
  try {
    await snapshotTo(dir, beside);
    return beside;
  } catch {
    // The folder above is another file system when the subvolume is itself the mount point.
    mkdirSync(dirname(inside), { recursive: true });
    await snapshotTo(dir, inside);
    return inside;
  }
}

export async function removeSnapshot(path: string): Promise<void> {
  if (!existsSync(path)) return;
  if (await isSubvolume(path)) await runProgram('btrfs', ['subvolume', 'delete', path]);
  else rmSync(path, { recursive: true, force: true });
}

/** Puts the files of a snapshot back in place of the guest's present ones. */
export async function rollbackTo(path: string, dir: string): Promise<void> {
  const keep = `--exclude=./${ownFolder}`;
  await emptyFolder(dir);
  const copy = 'set -e; (cd "$1" && tar cf - "$3" --xattrs --acls .) | (cd "$2" && tar xpf - --xattrs --acls)';
  await runProgram('bash', ['-o', 'pipefail', '-c', copy, 'rollback', path, dir, keep], { label: 'tar' });
}

/** Removes everything in `dir` but what belongs to the simulator. */
export async function emptyFolder(dir: string): Promise<void> {
  mkdirSync(dir, { recursive: true });
  await runProgram('find', [
    dir,
    '-mindepth',
    '1',
    '-maxdepth',
    '1',
    '!',
    '-name',
    ownFolder,
    '-exec',
    'rm',
    '-rf',
    '{}',
    '+',
  ]);
}

async function snapshotTo(dir: string, target: string): Promise<void> {
  if (existsSync(target)) await removeSnapshot(target);
  await runProgram('btrfs', ['subvolume', 'snapshot', '-r', dir, target]);
}

async function copyTree(dir: string, target: string): Promise<string> {
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  await runProgram('cp', ['-a', '--reflink=auto', `${dir}/.`, target]);
  return target;
}
