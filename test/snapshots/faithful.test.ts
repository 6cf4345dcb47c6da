import { rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isRoot } from '../lab/disk.ts';
import { type FileSystem, type FileSystemKind, makeFileSystem } from '../lab/file-system.ts';
import { must } from '../lab/process.ts';
import { makeMuseum, portrait } from './portrait.ts';
import { makeStage, type Stage } from './stage.ts';

/*
 * What comes back is what was there: on real file systems, as root. Where nobody is root a line says so.
 */

const kinds: FileSystemKind[] = ['ext4', 'btrfs', 'tmpfs'];
const expected = { ext4: 'archive', btrfs: 'tree', tmpfs: 'archive' } as const;
const root = isRoot();
if (!root) process.stdout.write('snapshots on real file systems: not tested, because this is not root\n');

describe.runIf(root).each(kinds)('on %s', (kind) => {
  let disk: FileSystem;
  let stage: Stage;
  beforeEach(async () => {
    disk = await makeFileSystem(kind);
    stage = await makeStage(disk.path);
    await makeMuseum(stage.volume);
  });
  afterEach(async () => await disk.remove());

  it('owners, modes, times, links, ACLs, attributes and holes come back; sockets do not, and are named', async () => {
    const { id, manifest } = await stage.take();
    await rm(join(stage.volume, 'socket'));
    const before = await portrait(stage.volume);
    const source = manifest.sources.find(({ name }) => name === 'shop_data');
    expect(source?.method).toBe(expected[kind]);
    expect(source?.skipped).toEqual(['socket']);

    await must('sh', [
      '-c',
      'cd "$0"; rm -rf deep holes outside; echo other >plain; chown 0:0 suid; mkdir new',
      stage.volume,
    ]);
    await stage.restore(id);

    const after = await portrait(stage.volume);
    // Removing the socket has touched the folder itself after the snapshot.
    expect(withoutOwnTime(after)).toBe(withoutOwnTime(before));
    expect((await stat(join(stage.volume, 'holes'))).blocks).toBeLessThan(100);
    expect(await must('find', [disk.path, '-name', '*felhom-restore*'])).toBe('');
  });

  it('comes back where the whole folder is gone, and twice in a row', async () => {
    const { id } = await stage.take();
    await rm(join(stage.volume, 'socket'));
    const before = withoutOwnTime(await portrait(stage.volume));
    await rm(stage.volume, { recursive: true });
    await stage.restore(id);
    expect(withoutOwnTime(await portrait(stage.volume))).toBe(before);
    await writeFile(join(stage.volume, 'plain'), 'damaged');
    await stage.restore(id);
    expect(withoutOwnTime(await portrait(stage.volume))).toBe(before);
  });
});

describe.runIf(root)('a source that is a mount point of its own', () => {
  it('comes back by its contents, attributes of the mount point included', async () => {
    const [disk, own] = [await makeFileSystem('ext4'), await makeFileSystem('ext4', 64)];
    try {
      const stage = await makeStage(disk.path);
      await must('mount', ['--bind', own.path, stage.volume]);
      await makeMuseum(stage.volume);
      const { id } = await stage.take();
      await rm(join(stage.volume, 'socket'));
      const before = withoutOwnTime(await portrait(stage.volume));
      await must('sh', ['-c', 'cd "$0"; rm -rf deep plain; chown 0:0 .; chmod 0700 .; echo new >new', stage.volume]);
      await stage.restore(id);
      expect(withoutOwnTime(await portrait(stage.volume))).toBe(before);
    } finally {
      await disk.remove();
      await own.remove();
    }
  });
});

describe.runIf(root)('a snapshot', () => {
  it('that does not fit beside 10 % of room is refused before anything is read', async () => {
    const [disk, small] = [await makeFileSystem('tmpfs'), await makeFileSystem('tmpfs', 8)];
    try {
      const stage = await makeStage(disk.path, { at: join(small.path, 'snapshots') });
      await must('sh', ['-c', 'head -c 8000000 /dev/urandom >"$0"', join(stage.volume, 'much')]);
      await expect(stage.take()).rejects.toMatchObject({ code: 'no_space' });
      expect(await must('find', [small.path, '-type', 'f'])).toBe('');
    } finally {
      await disk.remove();
      await small.remove();
    }
  });

  it('of a stack of which there is no data to keep is a result: its files and images', async () => {
    const disk = await makeFileSystem('tmpfs');
    try {
      const policy = { include: [], exclude: ['shop_data', join(disk.path, 'shop/files')] };
      const stage = await makeStage(disk.path, { policy });
      const { id, manifest, isLastGood } = await stage.take();
      expect([manifest.sources, isLastGood]).toEqual([[], true]);
      expect(manifest.files).toMatchObject([{ path: join(stage.project, 'compose.yaml') }]);
      await stage.snapshots.verify('shop', id);
      await must('sh', ['-c', 'echo changed >"$0"', join(stage.project, 'compose.yaml')]);
      await stage.restore(id, true);
      expect(await must('cat', [join(stage.project, 'compose.yaml')])).toBe('services: {}\n');
    } finally {
      await disk.remove();
    }
  });

  it('for which the disk gets full meanwhile leaves nothing behind', async () => {
    const [disk, small] = [await makeFileSystem('tmpfs'), await makeFileSystem('tmpfs', 8)];
    try {
      const stage = await makeStage(disk.path, { at: join(small.path, 'snapshots') });
      await must('sh', ['-c', 'head -c 4000000 /dev/urandom >"$0"', join(stage.volume, 'much')]);
      const prepared = await stage.snapshots.prepare('shop');
      await must('sh', ['-c', 'head -c 5000000 /dev/zero >"$0"', join(small.path, 'filler')]);
      await expect(prepared.capture({ reason: 'test' })).rejects.toMatchObject({ code: 'no_space' });
      expect(await must('find', [join(small.path, 'snapshots/shop'), '-mindepth', '1'])).toBe('');
    } finally {
      await disk.remove();
      await small.remove();
    }
  });

  it('on a disk that is read-only is refused in words', async () => {
    const [disk, small] = [await makeFileSystem('tmpfs'), await makeFileSystem('tmpfs', 8)];
    try {
      const stage = await makeStage(disk.path, { at: join(small.path, 'snapshots') });
      await must('mount', ['-o', 'remount,ro', small.path]);
      await expect(stage.take()).rejects.toMatchObject({ code: 'state_unwritable' });
    } finally {
      await disk.remove();
      await small.remove();
    }
  });

  it('of data with another file system in it is refused: no restore could bring that back', async () => {
    const [disk, other] = [await makeFileSystem('tmpfs'), await makeFileSystem('tmpfs', 8)];
    try {
      const stage = await makeStage(disk.path);
      await must('sh', ['-c', 'mkdir "$1/media"; mount --bind "$0" "$1/media"', other.path, stage.bind]);
      await expect(stage.take()).rejects.toMatchObject({ code: 'snapshot_impossible' });
    } finally {
      await disk.remove();
      await other.remove();
    }
  });

  it('of data with devices in it is refused', async () => {
    const disk = await makeFileSystem('tmpfs');
    try {
      const stage = await makeStage(disk.path);
      await must('mknod', [join(stage.volume, 'null'), 'c', '1', '3']);
      await expect(stage.take()).rejects.toThrow(/holds devices \(null\)/);
    } finally {
      await disk.remove();
    }
  });
});

/** Without the time of the folder itself, and its number of names, which differs between file systems. */
function withoutOwnTime(text: string): string {
  return text.replace(/^\|d\|(\d+)\|(\d+:\d+)\|[^|]+\|/m, '|d|$1|$2|');
}
