import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openWorld, type World } from '../testing/world.ts';

/** Why no btrfs can be made here, or null. */
function whyNot(): string | null {
  if (process.getuid?.() !== 0) return 'not root';
  const found = ['/sbin/mkfs.btrfs', '/usr/sbin/mkfs.btrfs'].some((path) => existsSync(path));
  if (!found) return 'btrfs-progs is not installed';
  return /btrfs/.test(readFileSync('/proc/filesystems', 'utf8')) ? null : 'the kernel has no btrfs';
}

const missing = whyNot();

let folder: string;
let world: World;
const mount = (): string => join(folder, 'mnt');

const describeBtrfs = missing === null ? describe : leaveOut;

function leaveOut(title: string): void {
  it(`${title}, where btrfs can be made`, (context) => {
    expect(missing).not.toBeNull();
    context.skip(missing ?? '');
  });
}

describeBtrfs('a guest that is a btrfs subvolume', () => {
  beforeAll(async () => {
    // In memory where that is possible: a flush must not wait for what else this machine writes.
    folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'pve-sim-btrfs-'));
    const image = join(folder, 'image');
    execFileSync('truncate', ['-s', '256M', image]);
    execFileSync('mkfs.btrfs', ['-q', image], { stdio: 'ignore' });
    mkdirSync(mount());
    execFileSync('mount', ['-o', 'loop', image, mount()]);
    execFileSync('btrfs', ['subvolume', 'create', join(mount(), '101')], { stdio: 'ignore' });
    world = await openWorld({
      guests: [
        { vmid: 101, dir: join(mount(), '101') },
        { vmid: 102, dir: mount() },
        {
          vmid: 103,
          dir: join(mount(), '101'),
          config: 'hostname: ct103\nrootfs: local-btrfs:103/vm-103-disk-0.subvol\n',
        },
      ],
    });
  });
  afterAll(async () => {
    await world.close();
    execFileSync('umount', [mount()]);
    rmSync(folder, { recursive: true, force: true });
  });

  const subvolumes = (): string[] =>
    execFileSync('btrfs', ['subvolume', 'list', '-o', mount()], { encoding: 'utf8' })
      .split('\n')
      .flatMap((line) => line.split(' path ')[1] ?? []);

  it('is captured as it was at one moment, and the snapshot is gone afterwards', async () => {
    const file = join(mount(), '101', 'written');
    writeFileSync(file, 'before\n');
    world.sim.faults.order({ fault: 'slow_archive', ms: 60_000 });
    const upid = await world.vzdump({ vmid: '101', storage: 'bk', compress: 'zstd' });
    await world.logged(upid, /creating vzdump archive/);
    writeFileSync(file, 'after\n');
    expect(subvolumes().toSorted()).toEqual(['.101@vzdump', '101']);
    expect(readFileSync(join(mount(), '.101@vzdump', 'written'), 'utf8')).toBe('before\n');
    await world.api('DELETE', `/nodes/pve1/tasks/${encodeURIComponent(upid)}`);
    expect(subvolumes()).toEqual(['101']);
    const second = await world.vzdump({ vmid: '101', storage: 'bk', compress: 'zstd' });
    expect(await world.ended(second)).toBe('OK');
    const dump = join(world.folder, 'bk', 'dump');
    const archive = readdirSync(dump).find((name) => name.endsWith('.tar.zst')) ?? '';
    expect(execFileSync('tar', ['xOf', join(dump, archive), '--zstd', './written'], { encoding: 'utf8' })).toBe(
      'after\n',
    );
    expect(subvolumes()).toEqual(['101']);
  });

  it('is captured where it is itself the mount point', async () => {
    expect(await world.ended(await world.vzdump({ vmid: '102', storage: 'bk', compress: 'zstd' }))).toBe('OK');
    expect(subvolumes()).toEqual(['101']);
  });

  it('rolls back to a snapshot by hand', async () => {
    const file = join(mount(), '101', 'rolled');
    writeFileSync(file, 'old\n');
    const snapshot = '/nodes/pve1/lxc/101/snapshot';
    expect(await world.ended(await world.data('POST', snapshot, { snapname: 's1', description: 'two\nlines' }))).toBe(
      'OK',
    );
    expect(await world.data('GET', '/nodes/pve1/lxc/101/config?snapshot=s1')).toMatchObject({
      description: 'two\nlines\n',
    });
    writeFileSync(file, 'new\n');
    await world.ended(await world.data('POST', '/nodes/pve1/lxc/101/status/stop'));
    expect(await world.ended(await world.data('POST', `${snapshot}/s1/rollback`))).toBe('OK');
    expect(readFileSync(file, 'utf8')).toBe('old\n');
    expect(await world.ended(await world.data('DELETE', `${snapshot}/s1`))).toBe('OK');
    expect(subvolumes()).toEqual(['101']);
  });

  it('that has no size says it can be snapshotted, and then cannot be backed up', async () => {
    expect(await world.data('GET', '/nodes/pve1/lxc/103/feature?feature=snapshot')).toEqual({ hasFeature: 1 });
    const first = await world.vzdump({ vmid: '103', storage: 'bk' });
    expect(await world.ended(first)).toBe('job errors');
    expect(await world.log(first)).toContain(
      "ERROR: Backup of VM 103 failed - cannot mount subvol snapshots for storage type 'btrfs'",
    );
    const second = await world.vzdump({ vmid: '103', storage: 'bk' });
    await world.ended(second);
    expect(await world.log(second)).toContain('INFO: found old vzdump snapshot (force removal)');
  });
});
