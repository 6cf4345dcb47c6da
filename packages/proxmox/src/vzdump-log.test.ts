import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { LogLine } from './tasks.ts';
import { parseVmid } from './upid.ts';
import { emptyVzdumpLog, type GuestLog, guestLog, readVzdumpLog, type VzdumpLog } from './vzdump-log.ts';

const folder = new URL('fixtures/', import.meta.url);
const ct = parseVmid(104);
const vm = parseVmid(105);

function fixture(name: string): LogLine[] {
  const text = readFileSync(new URL(`${name}.log`, folder), 'utf8');
  return text
    .split('\n')
    .slice(0, -1)
    .map((line, at) => ({ n: at + 1, text: line }));
}

const read = (name: string, upTo = Number.POSITIVE_INFINITY): VzdumpLog =>
  readVzdumpLog(
    emptyVzdumpLog,
    fixture(name).filter(({ n }) => n <= upTo),
  );

function guest(name: string, vmid = ct, upTo?: number): GuestLog {
  const found = guestLog(read(name, upTo), vmid);
  if (found === null) throw new TypeError(`no block of ${vmid} in ${name}`);
  return found;
}

/** The number of the line after which the proof is there, told by reading ever more lines. */
function provenAfter(name: string, vmid = ct): number | null {
  const lines = fixture(name);
  return lines.find(({ n }) => guestLog(read(name, n), vmid)?.proof != null)?.n ?? null;
}

describe('the proof that the snapshot exists', () => {
  it.each([
    [
      'ct-snapshot-one-volume',
      ct,
      "INFO: creating vzdump archive '/mnt/vault/dump/vzdump-lxc-104-2026_03_02-04_05_06.tar.zst'",
    ],
    [
      'ct-snapshot-many-mounts',
      ct,
      "INFO: creating vzdump archive '/mnt/vault/dump/vzdump-lxc-104-2026_03_02-04_05_06.tar.zst'",
    ],
    ['ct-pbs', ct, "INFO: creating Proxmox Backup Server archive 'ct/104/2026-03-02T03:05:06Z'"],
    ['ct-falls-back-to-suspend', ct, 'INFO: resuming guest'],
    ['vm-snapshot', vm, "INFO: started backup task '7d0c2d86-31d6-4c8e-8f0e-5b7f0c1f2a3b'"],
    ['vm-pbs-stop', vm, "INFO: started backup task '2a1b'"],
    [
      'several-guests',
      ct,
      "INFO: creating vzdump archive '/mnt/vault/dump/vzdump-lxc-104-2026_03_02-04_05_06.tar.zst'",
    ],
  ])('of %s is one line, and not there a line sooner', (name, vmid, text) => {
    const line = fixture(name).findLast((candidate) => candidate.text === text);
    expect(provenAfter(name, vmid)).toBe(line?.n);
    expect(guest(name, vmid).proof).toEqual({ line: line?.n, text });
  });

  it.each(['ct-stop', 'ct-stop-left-down', 'ct-snapshot-fails', 'ct-final-copy-fails', 'ct-hook-prints-our-lines'])(
    'is in no line of %s',
    (name) => {
      expect(provenAfter(name)).toBe(null);
    },
  );

  it('of one guest is not that of the next', () => {
    expect(guest('several-guests', parseVmid(106)).proof).toBe(null);
  });
});

describe('a log in pieces', () => {
  const names = readdirSync(folder)
    .filter((name) => name.endsWith('.log'))
    .map((name) => name.slice(0, -4));

  it.each(names)('%s says the same however it is cut, and lines that come twice count once', (name) => {
    const lines = fixture(name);
    const whole = readVzdumpLog(emptyVzdumpLog, lines);
    expect(lines.reduce((log, line) => readVzdumpLog(log, [line]), emptyVzdumpLog)).toEqual(whole);
    for (let cut = 0; cut <= lines.length; cut += 1) {
      const half = readVzdumpLog(emptyVzdumpLog, lines.slice(0, cut));
      expect(readVzdumpLog(half, lines.slice(Math.max(0, cut - 3)))).toEqual(whole);
    }
  });

  it.each(names)('%s never takes back a proof or a result', (name) => {
    const states = fixture(name).map(({ n }) => read(name, n).guests);
    const last = states.at(-1) ?? [];
    const takenBack = states.flatMap((guests) =>
      guests.filter(({ proof, result }, at) => {
        const final = last[at];
        return (
          (proof !== null && proof.line !== final?.proof?.line) ||
          (result !== null && result.kind !== final?.result?.kind)
        );
      }),
    );
    expect(takenBack).toEqual([]);
  });
});

describe('what a log says', () => {
  it('of a container on a file storage', () => {
    const log = read('ct-snapshot-one-volume');
    expect(log.command).toMatchObject({
      vmids: [104],
      storage: 'vault',
      requestedMode: 'snapshot',
      notesTemplate: 'felhom/1 j_41 pending',
    });
    expect(log.end).toEqual({ kind: 'ok' });
    expect(guest('ct-snapshot-one-volume')).toMatchObject({
      kind: 'lxc',
      name: 'cloud',
      running: true,
      mode: 'snapshot',
      fallback: null,
      capture: 'ended',
      volid: 'vault:backup/vzdump-lxc-104-2026_03_02-04_05_06.tar.zst',
      sizes: { dataBytes: 5_368_709_120, archiveBytes: Math.round(2.31 * 1024 ** 3) },
      notes: 'added',
      prune: {
        retention: 'keep-daily=7,keep-weekly=4',
        removed: ['vault:backup/vzdump-lxc-104-2026_02_22-04_05_03.tar.zst'],
      },
      downtime: { kind: 'none', backOnline: true },
      result: { kind: 'finished', seconds: 31 },
    });
  });

  it('of mounts, warnings, our hook and a freeze', () => {
    const block = guest('ct-snapshot-many-mounts');
    expect(block.included.map(({ mount, target }) => `${mount} ${target}`)).toEqual([
      'rootfs /',
      'mp0 /var/lib/data',
      "mp4 /it's here",
    ]);
    expect(block.excluded).toEqual([
      { mount: 'mp1', target: '/var/cache/big', why: 'backup is switched off for this volume' },
      { mount: 'mp2', target: '/srv/media', why: 'bind mount of the host' },
      { mount: 'mp3', target: '/mnt/disk', why: 'device of the host' },
    ]);
    expect(block.downtime).toEqual({ kind: 'suspended', backOnline: true });
    expect(block.result).toEqual({ kind: 'finished', seconds: 3723 });
    const log = read('ct-snapshot-many-mounts');
    expect(log.hookLines).toEqual(['felhom hook: job-init', 'felhom hook: gate g1 opened']);
    expect(log.warnings).toEqual(['tar: ./run/queue: socket ignored']);
    expect(log.end).toEqual({ kind: 'warnings', count: 1 });
  });

  it('of a wait for the lock and a fallback, without saying mounts twice', () => {
    expect(read('ct-falls-back-to-suspend', 1).lock).toBe('waiting');
    expect(read('ct-falls-back-to-suspend').lock).toBe('got');
    const block = guest('ct-falls-back-to-suspend');
    expect(block.fallback).toEqual({ to: 'suspend', why: 'some volumes do not support snapshots' });
    expect(block.mode).toBe('suspend');
    expect(block.included).toHaveLength(1);
  });

  it('of a lock that was not to be had', () => {
    const log = readVzdumpLog(emptyVzdumpLog, [
      { n: 1, text: "ERROR: can't acquire lock '/var/run/vzdump.lock' (wait = 0)" },
    ]);
    expect(log.lock).toBe('lost');
  });

  it('of a guest that is stopped and comes back, and of one that does not', () => {
    expect(guest('ct-stop', ct, 8).downtime).toEqual({ kind: 'stopped', backOnline: false });
    expect(guest('ct-stop').downtime).toEqual({ kind: 'stopped', backOnline: true });
    expect(guest('ct-stop-left-down')).toMatchObject({
      downtime: { kind: 'stopped', backOnline: false },
      result: { kind: 'finished' },
    });
  });

  it('of a snapshot that failed', () => {
    expect(guest('ct-snapshot-fails', ct, 8).capture).toBe('snapshot-requested');
    expect(guest('ct-snapshot-fails', ct, 9).capture).toBe('ended');
    expect(guest('ct-snapshot-fails').result).toMatchObject({ kind: 'failed', reason: "pool 'tank' is out of space" });
    expect(read('ct-snapshot-fails').end).toEqual({ kind: 'error', text: 'job errors' });
  });

  it('of an archive that failed after the snapshot was proven: what the tool complained about', () => {
    const { proof, result } = guest('ct-archive-fails');
    expect(proof?.line).toBe(8);
    expect(result).toMatchObject({
      kind: 'failed',
      reason:
        'zstd: error 70 : Write error : cannot write block : No space left on device; the command that writes the backup failed: exit code 70',
      text: expect.stringContaining('set -o pipefail'),
    });
  });

  it('of a container on PBS', () => {
    expect(guest('ct-pbs', ct, 20).progress).toEqual({ percent: null, bytes: 3.5 * 1024 ** 3 });
    expect(guest('ct-pbs')).toMatchObject({
      archive: 'ct/104/2026-03-02T03:05:06Z',
      volid: 'safe:backup/ct/104/2026-03-02T03:05:06Z',
      sizes: { dataBytes: 6 * 1024 ** 3, archiveBytes: 300 * 1024 ** 2 },
    });
  });

  it('of a VM: disks, per cent, sizes', () => {
    const block = guest('vm-snapshot', vm);
    expect(block.included).toEqual([{ mount: 'scsi0', target: 'tank:vm-105-disk-0' }]);
    expect(block.excluded).toEqual([
      { mount: 'scsi1', target: 'tank:vm-105-disk-1', why: 'backup is switched off for this disk' },
    ]);
    expect(guest('vm-snapshot', vm, 16).progress).toEqual({ percent: 57, bytes: 18.5 * 1024 ** 3 });
    expect(block.progress.percent).toBe(100);
    expect(block.sizes.dataBytes).toBe(32 * 1024 ** 3);
    expect(guest('vm-pbs-stop', vm).downtime).toEqual({ kind: 'stopped', backOnline: true });
  });

  it('of several guests, each its own, also one that failed before its block began', () => {
    const log = read('several-guests');
    expect(log.guests.map(({ vmid, kind, result }) => [vmid, kind, result?.kind])).toEqual([
      [104, 'lxc', 'finished'],
      [106, 'lxc', 'failed'],
      [107, null, 'failed'],
      [105, 'qemu', 'finished'],
    ]);
    expect(log.command?.vmids).toEqual([104, 106, 105]);
  });

  it('of a job without a storage in its command: the volid is that of the storage we know otherwise', () => {
    const lines = fixture('ct-stop').map(({ n, text }) => ({ n, text: text.replace(' --storage vault', '') }));
    expect(guestLog(readVzdumpLog(emptyVzdumpLog, lines), ct)?.volid).toBe(null);
    expect(guestLog(readVzdumpLog(emptyVzdumpLog, lines, 'local'), ct)?.volid).toBe(
      'local:backup/vzdump-lxc-104-2026_03_02-04_05_06.tar',
    );
  });
});
