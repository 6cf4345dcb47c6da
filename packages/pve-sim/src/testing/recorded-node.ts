import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GuestSpec } from '../options.ts';
import { openWorld, type World } from './world.ts';

const base = (hostname: string): string =>
  `arch: amd64\ncores: 1\nhostname: ${hostname}\nmemory: 128\nostype: unmanaged\nswap: 512\nunprivileged: 1\n`;

/** The configurations of the recorded guests: 100 on storage without snapshots, 101 on btrfs, 102 with several volumes. */
export const recordedConfigs: Record<number, string> = {
  100: `${base('ct100')}rootfs: local:100/vm-100-disk-0.raw,size=1G\n`,
  101: `${base('ct101')}rootfs: bt:101/vm-101-disk-0.raw,size=1G\n`,
  102: `${base('ct102')}rootfs: bt:102/vm-102-disk-0.raw,size=1G\nmp0: bt:102/vm-102-disk-1.raw,mp=/srv/data,backup=1,size=1G\nmp1: local:102/vm-102-disk-0.raw,mp=/srv/nobackup,size=1G\n`,
};

export const limitedToken = {
  id: 'bak@pve!tk',
  secret: 'limited-secret',
  privileges: { '/vms': ['VM.Backup'], '/storage/bk': ['Datastore.AllocateSpace'] },
};
export const auditorToken = { id: 'aud@pve!tk', secret: 'auditor-secret', privileges: { '/vms/100': ['VM.Audit'] } };
export const emptyToken = { id: 'none@pve!tk', secret: 'no-privileges', privileges: {} };

/** A node like the recorded one, at the moment before anything was done to it. */
export async function openRecordedNode(config: Record<number, string> = {}): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'pve-sim-guests-'));
  const guests = [100, 101, 102].map((vmid): GuestSpec => {
    const dir = join(folder, String(vmid));
    mkdirSync(join(dir, 'data'), { recursive: true });
    mkdirSync(join(dir, 'srv', 'nobackup'), { recursive: true });
    writeFileSync(join(dir, 'data', 'blob'), 'x'.repeat(5000));
    writeFileSync(join(dir, 'srv', 'nobackup', 'scratch'), 'not for the backup');
    return { vmid, dir, config: config[vmid] ?? recordedConfigs[vmid] ?? '' };
  });
  const world = await openWorld({
    guests,
    storages: [
      { id: 'bk', dir: join(folder, 'bk'), prune: 'keep-last=3' },
      { id: 'local', dir: join(folder, 'local') },
      { id: 'small', dir: join(folder, 'small'), prune: 'keep-last=3' },
      { id: 'bt', dir: join(folder, 'bt'), content: 'images,rootdir' },
    ],
    tokens: [limitedToken, auditorToken, emptyToken],
  });
  return {
    ...world,
    close: async () => {
      await world.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
