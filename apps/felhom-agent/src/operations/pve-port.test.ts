import { systemClock } from '@felhom/kernel/clock.ts';
import type { PveClient } from '@felhom/proxmox/client.ts';
import { PveError, type PveFault } from '@felhom/proxmox/errors.ts';
import { readTaskEnd } from '@felhom/proxmox/tasks.ts';
import { formatUpid } from '@felhom/proxmox/upid.ts';
import { describe, expect, it } from 'vitest';
import type { Act } from './ports.ts';
import { operationPve, rootVolumeOf, unsavedOf } from './pve-port.ts';

const upid = formatUpid({ node: 'pve1', pid: 1, pstart: 1, startSeconds: 1, type: 'vzdump', id: '101', user: 'u@pam' });
const volid = 'bk:backup/vzdump-lxc-101-2026_11_24-23_09_59.tar.zst';
const safety: Act = { kind: 'safety-backup', vmid: 101, guestKind: 'lxc', storage: 'bk', mark: 'felhom/1 op pending' };
const destroy: Act = { kind: 'destroy-guest', vmid: 101, guestKind: 'lxc', purge: true, unreferencedDisks: false };

const lines = [
  "INFO: starting new backup job: vzdump 101 --notes-template 'felhom/1 op pending' --storage bk",
  'INFO: Starting Backup of VM 101 (lxc)',
  'INFO: backup mode: stop',
  "INFO: creating vzdump archive '/bk/dump/vzdump-lxc-101-2026_11_24-23_09_59.tar.zst'",
  'INFO: Finished Backup of VM 101 (00:00:01)',
  'TASK OK',
];

interface Node {
  log?: readonly string[];
  exit?: string;
  kept?: { volid: string; protected: boolean }[];
  fails?: PveFault;
}

/** A client of which only what is asked for here is there. */
function portOf({ log = lines, exit = 'OK', kept = [], fails }: Node) {
  const answer = async () => {
    if (fails === undefined) return upid;
    throw new PveError({ fault: fails, call: 'DELETE /x', text: 'said no' });
  };
  const client = {
    node: 'pve1',
    tasks: {
      log: async (_: string, { from = 1 } = {}) => log.map((text, at) => ({ n: at + 1, text })).slice(from - 1),
      status: async () => ({ end: readTaskEnd(exit) }),
    },
    storage: { backups: async () => kept },
    irreversible: { destroyGuest: answer },
  };
  return operationPve(client as unknown as PveClient, { clock: systemClock, tokenUser: 'u@pam' });
}

describe('the backup of the present guest', () => {
  it('counts once it lies there protected', async () => {
    const port = portOf({ kept: [{ volid, protected: true }] });
    expect(await port.follow(upid, safety, undefined)).toEqual({ kind: 'ok', volid });
  });

  it.each([
    ['is not protected', { kept: [{ volid, protected: false }] }],
    ['is not there', { kept: [] }],
    ['is not in the log', { log: ['TASK OK'], kept: [{ volid, protected: true }] }],
    ['failed', { exit: 'job errors', kept: [{ volid, protected: true }] }],
  ])('does not count when it %s, whatever the task says', async (_, node) => {
    expect(await portOf(node).follow(upid, safety, undefined)).toMatchObject({ kind: 'failed' });
  });
});

describe('asking for something', () => {
  it('answers the task', async () => {
    expect(await portOf({}).start(destroy)).toEqual({ kind: 'started', upid });
  });

  it.each([
    ['locked', 'refused'],
    ['permission', 'refused'],
    ['misbehaves', 'lost'],
    ['aborted', 'lost'],
  ] as const)('and being answered %s is %s', async (kind, meaning) => {
    const fault = (kind === 'locked' ? { kind, lock: 'backup' } : { kind }) as PveFault;
    expect(await portOf({ fails: fault }).start(destroy)).toMatchObject({ kind: meaning });
  });

  it('is lost where the connection broke, and refused where it was never made', async () => {
    const broke = portOf({ fails: { kind: 'transport', outcome: 'unknown' } });
    const never = portOf({ fails: { kind: 'transport', outcome: 'not-sent' } });
    expect([(await broke.start(destroy)).kind, (await never.start(destroy)).kind]).toEqual(['lost', 'refused']);
  });
});

describe('the root volume', () => {
  const of = (kind: 'lxc' | 'qemu', options: Record<string, string>) => rootVolumeOf({ kind, options });

  it('is the rootfs of a container, the first disk of a VM, and none where there is none', () => {
    expect(of('lxc', { mp0: 'tank:b,mp=/srv', rootfs: 'tank:a,size=8G' })).toBe('tank:a');
    expect(of('qemu', { efidisk0: 'tank:efi', scsi1: 'tank:b', scsi0: 'tank:a,size=8G', tpmstate0: 'tank:t' })).toBe(
      'tank:a',
    );
    expect(of('qemu', { ide2: 'none,media=cdrom', virtio0: 'tank:v' })).toBe('tank:v');
    expect(of('qemu', {})).toBeNull();
  });
});

describe('what a restore over a guest destroys and no backup holds', () => {
  const options = {
    rootfs: 'local:101/vm-101-disk-0.raw,size=8G',
    mp0: 'local:101/vm-101-disk-1.raw,mp=/srv/media,size=8G',
    mp1: 'local:101/vm-101-disk-2.raw,mp=/srv/db,backup=1,size=8G',
    mp2: '/srv/of-the-host,mp=/srv/host',
    unused0: 'local:101/vm-101-disk-3.raw',
  };

  it('is every volume of a container without backup=1 and every unused one, and nothing of the host', () => {
    const left = ['mp0 (local:101/vm-101-disk-1.raw)', 'unused0 (local:101/vm-101-disk-3.raw)'];
    expect(unsavedOf({ kind: 'lxc', options })).toEqual(left);
  });

  it('is nothing of a VM, whose other disks stay', () => {
    expect(unsavedOf({ kind: 'qemu', options: { scsi0: 'local:101/vm-101-disk-0.raw,backup=0' } })).toEqual([]);
  });
});
