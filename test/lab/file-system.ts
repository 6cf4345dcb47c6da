import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { must } from './process.ts';
import { unmountBelow } from './unmount.ts';

export type FileSystemKind = 'ext4' | 'btrfs' | 'tmpfs';

export interface FileSystem {
  path: string;
  remove(): Promise<void>;
}

/** A small file system of its own, on a loop file in `parent` or in memory. Needs root. */
export async function makeFileSystem(
  kind: FileSystemKind,
  sizeMiB = 256,
  parent: string = tmpdir(),
): Promise<FileSystem> {
  const folder = await mkdtemp(join(parent, `felhom-${kind}-`));
  const path = join(folder, 'mount');
  await mkdir(path);
  if (kind === 'tmpfs') await must('mount', ['-t', 'tmpfs', '-o', `size=${sizeMiB}m`, 'felhom-test', path]);
  else {
    const image = join(folder, 'image');
    const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };
    await must('truncate', ['--size', `${sizeMiB}M`, image]);
    await must(`mkfs.${kind}`, [kind === 'ext4' ? '-q' : '--quiet', image], { env });
    await must('mount', ['-o', 'loop,noatime', image, path]);
  }
  return {
    path,
    remove: async () => {
      await unmountBelow(folder);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
