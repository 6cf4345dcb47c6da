import { createHash } from 'node:crypto';
import { constants, existsSync } from 'node:fs';
import { access, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { labEngine } from './engine.ts';
import { must, run } from './process.ts';
import { holdingTurn } from './turn.ts';
import { unmountBelow } from './unmount.ts';

/*
 * The disk of a lab: a btrfs on a loop file with the subvolume `guest`, which holds the guest's files, and a Docker
 * data root that knows our images already.
 *
 * - `images: 'beside'`: the data root lies beside the guest and only its volumes are in the guest (by a bind mount).
 *   Archives stay small.
 * - `images: 'inside'`: the data root lies in the guest, as in a real one: a restored copy boots with its containers.
 *
 * Loading the images takes seconds, so a template is made once per set of images and copied, compressed, for each lab.
 * A copy gets a UUID of its own: the kernel refuses two file systems with the same one.
 */

/** Whether the lab may mount and start an engine of its own. */
export const isRoot = (): boolean => process.getuid?.() === 0;

export const labsFolder =
  process.env['FELHOM_LAB_DIR'] ?? (isRoot() ? '/var/tmp/felhom-lab' : `/var/tmp/felhom-lab-${process.getuid?.()}`);
const images = ['felhom/busybox:test', 'felhom/postgres:test'];
const layout = '1';

export type ImagesPlace = 'beside' | 'inside';

export interface LabDisk {
  kind: 'btrfs' | 'plain';
  /** The guest's root: a subvolume, or a plain folder where there is no btrfs. */
  guest: string;
  dataRoot: string;
  /** Undoes every mount. What is left is files below the lab's folder. */
  unmount(): Promise<void>;
}

/** Whether this machine lets us have loop mounts with btrfs; FELHOM_LAB_DISK=plain says no for it. */
export async function canHaveBtrfs(): Promise<boolean> {
  if (!isRoot() || process.env['FELHOM_LAB_DISK'] === 'plain' || !existsSync('/dev/loop-control')) return false;
  return (
    (
      await run('sh', [
        '-c',
        'PATH=$PATH:/usr/sbin:/sbin; command -v mkfs.btrfs && command -v btrfstune && grep -qw btrfs /proc/filesystems || modprobe btrfs',
      ])
    ).code === 0
  );
}

/** Makes the disk of a new lab in `folder`. */
export async function makeDisk(folder: string, place: ImagesPlace): Promise<LabDisk> {
  if (!(await canHaveBtrfs())) return await plainDisk(folder, place);
  const image = join(folder, 'disk.img');
  const mount = join(folder, 'disk');
  const template = await templateFor(place);
  await must('cp', ['--sparse=always', template, image]);
  await must('btrfstune', ['-m', image], withSbin());
  await mkdir(mount);
  await must('mount', ['-o', 'loop,noatime', image, mount]);
  const guest = join(mount, 'guest');
  const dataRoot = place === 'inside' ? join(guest, 'var/lib/docker') : join(mount, 'docker');
  if (place === 'beside') await bindVolumes(guest, dataRoot);
  return { kind: 'btrfs', guest, dataRoot, unmount: async () => await unmountBelow(folder) };
}

/** No btrfs: a folder that the simulator copies. Never benchmarked. Images are loaded anew each time. */
async function plainDisk(folder: string, place: ImagesPlace): Promise<LabDisk> {
  const guest = join(folder, 'disk/guest');
  const dataRoot = place === 'inside' ? join(guest, 'var/lib/docker') : join(folder, 'disk/docker');
  await mkdir(guest, { recursive: true });
  if (!isRoot()) return { kind: 'plain', guest, dataRoot, unmount: async () => await Promise.resolve() };
  await mkdir(dataRoot, { recursive: true });
  await loadImages(join(folder, 'loader'), dataRoot);
  if (place === 'beside') await bindVolumes(guest, dataRoot);
  return { kind: 'plain', guest, dataRoot, unmount: async () => await unmountBelow(folder) };
}

async function bindVolumes(guest: string, dataRoot: string): Promise<void> {
  const inGuest = join(guest, 'var/lib/docker/volumes');
  const inRoot = join(dataRoot, 'volumes');
  await mkdir(inGuest, { recursive: true });
  await mkdir(inRoot, { recursive: true });
  await must('mount', ['--bind', inGuest, inRoot]);
}

async function templateFor(place: ImagesPlace): Promise<string> {
  await mkdir(labsFolder, { recursive: true });
  const ids = await must('docker', ['image', 'inspect', '--format', '{{.Id}}', ...images]);
  const key = createHash('sha256').update(`${layout} ${place} ${ids}`).digest('hex').slice(0, 16);
  const template = join(labsFolder, `template-${place}-${key}.img`);
  return await holdingTurn(join(labsFolder, `template-${place}.lock`), async () => {
    if (
      await access(template, constants.R_OK).then(
        () => true,
        () => false,
      )
    )
      return template;
    for (const old of await readdir(labsFolder))
      if (old.startsWith(`template-${place}-`)) await rm(join(labsFolder, old));
    await buildTemplate(template, place);
    return template;
  });
}

async function buildTemplate(template: string, place: ImagesPlace): Promise<void> {
  const folder = await mkdtemp(join(labsFolder, 'making-'));
  try {
    const image = join(folder, 'disk.img');
    const mount = join(folder, 'disk');
    await must('truncate', ['--size', '16G', image]);
    await must('mkfs.btrfs', ['--quiet', '--metadata', 'single', '--data', 'single', image], withSbin());
    await mkdir(mount);
    await must('mount', ['-o', 'loop,noatime,compress=zstd:1', image, mount]);
    await must('btrfs', ['subvolume', 'create', join(mount, 'guest')], withSbin());
    const dataRoot = place === 'inside' ? join(mount, 'guest/var/lib/docker') : join(mount, 'docker');
    await mkdir(dataRoot, { recursive: true });
    await loadImages(folder, dataRoot);
    await unmountBelow(folder);
    await rename(image, template);
  } finally {
    await unmountBelow(folder);
    await rm(folder, { recursive: true, force: true });
  }
}

/** Copies our images from the machine's engine into a new data root, by an engine that lives only for that. */
async function loadImages(folder: string, dataRoot: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const engine = labEngine({ folder, dataRoot });
  try {
    await engine.start();
    await must('sh', ['-c', 'docker save "$@" | docker -H "$0" load', engine.host, ...images]);
    await engine.stop();
  } finally {
    await engine.destroy();
  }
}

function withSbin(): { env: NodeJS.ProcessEnv } {
  return { env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` } };
}
