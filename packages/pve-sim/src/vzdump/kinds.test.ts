import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nextSecond, openWorld, type World } from '../testing/world.ts';

let world: World;
let folder: string;
const dirOf = (vmid: number): string => join(folder, String(vmid));

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pve-sim-kinds-'));
  for (const vmid of [101, 300]) {
    mkdirSync(join(dirOf(vmid), 'tmp'), { recursive: true });
    writeFileSync(join(dirOf(vmid), 'data'), `data of ${vmid}\n`);
    writeFileSync(join(dirOf(vmid), 'tmp', 'scratch'), 'left out');
  }
  world = await openWorld({
    guests: [
      { vmid: 101, dir: dirOf(101), name: 'docker1' },
      {
        vmid: 300,
        dir: dirOf(300),
        kind: 'qemu',
        name: 'vm300',
        commands: { freeze: `echo freeze >>${folder}/calls`, thaw: `echo thaw >>${folder}/calls` },
      },
      { vmid: 202, dir: dirOf(202), absent: true },
    ],
    storages: [
      { id: 'bk', dir: join(folder, 'bk') },
      { id: 'pbs', dir: join(folder, 'pbs'), kind: 'pbs', prune: 'keep-last=1' },
    ],
  });
});
afterAll(async () => {
  await world.close();
  rmSync(folder, { recursive: true, force: true });
});

const run = async (params: Record<string, string | number>): Promise<string[]> => {
  const upid = await world.vzdump({ compress: 'zstd', ...params });
  await world.ended(upid);
  return world.log(upid);
};

describe('an archive on storage of kind dir', () => {
  it('holds the files of the guest and its configuration, but not what vzdump leaves out', async () => {
    await run({ vmid: '101', storage: 'bk' });
    const dump = join(folder, 'bk', 'dump');
    const file = readdirSync(dump).find((name) => name.endsWith('.tar.zst')) ?? '';
    const listing = execFileSync('tar', ['tf', join(dump, file), '--zstd'], { encoding: 'utf8' })
      .trim()
      .split('\n');
    expect(listing).toContain('./data');
    expect(listing).toContain('./etc/vzdump/pct.conf');
    expect(listing).not.toContain('./tmp/scratch');
    expect(readdirSync(dump).filter((name) => /\.dat$|\.tmp$/.test(name))).toEqual([]);
  });
});

describe('a backup to storage of kind pbs', () => {
  it('has the volid, the list item and the log lines of one', async () => {
    const log = await run({ vmid: '101', storage: 'pbs', 'notes-template': 'felhom/1 x pending' });
    const target = /'(ct\/101\/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)'/.exec(
      log.find((line) => line.includes('creating')) ?? '',
    )?.[1];
    expect(log).toContain(`INFO: creating Proxmox Backup Server archive '${target}'`);
    expect(log.some((line) => line.startsWith('INFO: archive file size'))).toBe(false);
    const list = await world.data<Record<string, unknown>[]>('GET', '/nodes/pve1/storage/pbs/content');
    expect(list).toEqual([
      {
        volid: `pbs:backup/${target}`,
        vmid: 101,
        ctime: expect.any(Number),
        size: expect.any(Number),
        format: 'pbs-ct',
        subtype: 'lxc',
        content: 'backup',
        notes: 'felhom/1 x pending',
      },
    ]);
    expect(list[0]?.['ctime']).toBe(Date.parse(target?.slice('ct/101/'.length) ?? '') / 1000);
  });

  it('restores into the folder of the guest it is asked for', async () => {
    const [backup] = await world.data<{ volid: string }[]>('GET', '/nodes/pve1/storage/pbs/content');
    const params = {
      vmid: 202,
      ostemplate: backup?.volid ?? '',
      restore: 1,
      storage: 'local',
      hostname: 'scratch',
      rootfs: 'local:4',
    };
    expect(await world.ended(await world.data('POST', '/nodes/pve1/lxc', params))).toBe('OK');
    expect(readFileSync(join(dirOf(202), 'data'), 'utf8')).toBe('data of 101\n');
    expect(existsSync(join(dirOf(202), 'etc', 'vzdump'))).toBe(false);
    expect(await world.data('GET', '/nodes/pve1/lxc/202/config')).toMatchObject({
      hostname: 'scratch',
      rootfs: 'local:202/vm-202-disk-0.raw,size=4G',
    });
  });

  it('is pruned as the storage says', async () => {
    await nextSecond();
    const log = await run({ vmid: '101', storage: 'pbs' });
    expect(log).toContain('INFO: pruned 1 backup(s) not covered by keep-retention policy');
    expect(await world.data<unknown[]>('GET', '/nodes/pve1/storage/pbs/content')).toHaveLength(1);
  });
});

describe('a virtual machine', () => {
  it('fixes its point in time in the archive step, frozen by its agent', async () => {
    const log = await run({ vmid: '300', storage: 'bk' });
    const from = log.findIndex((line) => line.includes('creating vzdump archive'));
    expect(log.slice(from, from + 4)).toEqual([
      expect.stringMatching(/vzdump-qemu-300-.*\.vma\.zst'$/),
      "INFO: issuing guest-agent 'fs-freeze' command",
      "INFO: issuing guest-agent 'fs-thaw' command",
      expect.stringMatching(/^INFO: started backup task '[0-9a-f-]{36}'$/),
    ]);
    expect(readFileSync(join(folder, 'calls'), 'utf8')).toBe('freeze\nthaw\n');
    expect(log.at(-1)).toBe('TASK OK');
  });

  it('runs on before its data is copied in stop mode', async () => {
    const log = await run({ vmid: '300', storage: 'bk', mode: 'stop' });
    const started = log.findIndex((line) => line.includes('started backup task'));
    expect(log[started + 1]).toMatch(/^INFO: resuming VM again after \d+ seconds$/);
    expect(log.findIndex((line) => line.includes('transferred'))).toBeGreaterThan(started);
    expect(await world.data('GET', '/nodes/pve1/qemu/300/status/current')).toMatchObject({ status: 'running' });
  });
});

describe('a job over several guests', () => {
  it('is one task with a block for each, and one that fails does not stop the others', async () => {
    await world.control('POST', '/sim/guests/101', { lock: 'backup' });
    const upid = await world.vzdump({ all: 1, storage: 'bk', compress: 'zstd' });
    expect(upid).toMatch(/:vzdump::root@pam!sim:$/);
    expect(await world.ended(upid)).toBe('job errors');
    const log = await world.log(upid);
    expect(log).toContain('ERROR: Backup of VM 101 failed - CT is locked (backup)');
    expect(log.some((line) => line.startsWith('INFO: Finished Backup of VM 300'))).toBe(true);
    expect(log[0]).toMatch(/^INFO: starting new backup job: vzdump --/);
    await world.control('POST', '/sim/guests/101', { lock: null });
  });

  it('names a guest that is not there', async () => {
    const upid = await world.vzdump({ vmid: '999', storage: 'bk' });
    expect(await world.ended(upid)).toBe('job errors');
    expect(await world.log(upid)).toContain("ERROR: Backup of VM 999 failed - unable to find VM '999'");
  });

  it('to storage that is not there tells so as its end', async () => {
    expect(await world.ended(await world.vzdump({ vmid: '101', storage: 'nosuch' }))).toBe(
      "could not activate storage 'nosuch': storage 'nosuch' does not exist could not get storage information for 'nosuch': storage 'nosuch' does not exist",
    );
  });
});
