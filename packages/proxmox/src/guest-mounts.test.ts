import { expect, it } from 'vitest';
import { readMounts } from './guest-mounts.ts';

it('tells of a container what a backup will hold, and why not the rest', () => {
  const options = {
    digest: 'x',
    rootfs: 'tank:subvol-104-disk-0,size=8G',
    mp0: 'tank:subvol-104-disk-1,mp=/var/lib/data,backup=1,size=20G',
    mp1: 'tank:subvol-104-disk-2,mp=/var/cache/big,size=20G',
    mp2: '/srv/media,mp=/srv/media,ro=1',
    mp10: '/dev/sdc1,mp=/mnt/disk',
    unused0: 'tank:subvol-104-disk-9',
  };
  expect(
    readMounts({ kind: 'lxc', options }).map(({ key, target, backup, whyNot }) => [key, target, backup, whyNot]),
  ).toEqual([
    ['mp0', '/var/lib/data', true, null],
    ['mp1', '/var/cache/big', false, 'backup is switched off for this volume'],
    ['mp2', '/srv/media', false, 'bind mount of the host'],
    ['mp10', '/mnt/disk', false, 'device of the host'],
    ['rootfs', '/', true, null],
  ]);
});

it('tells of a VM that disks are in a backup unless switched off, and CD drives are no disks', () => {
  const options = {
    scsi0: 'tank:vm-105-disk-0,size=32G',
    scsi1: 'file=tank:vm-105-disk-1,backup=0,size=500G',
    ide2: 'local:iso/debian.iso,media=cdrom',
    ide3: 'none,media=cdrom',
    efidisk0: 'tank:vm-105-disk-2,size=4M',
    scsihw: 'virtio-scsi-single',
  };
  expect(readMounts({ kind: 'qemu', options }).map(({ key, storage, backup }) => [key, storage, backup])).toEqual([
    ['efidisk0', 'tank', true],
    ['scsi0', 'tank', true],
    ['scsi1', 'tank', false],
  ]);
});
