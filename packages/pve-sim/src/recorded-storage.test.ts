import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { limitedToken, openRecordedNode } from './testing/recorded-node.ts';
import { leaveOut, normaliseLog, openRecordings, type Recording, recordedLog } from './testing/recordings.ts';
import { nextSecond, type World } from './testing/world.ts';

const recordings = openRecordings();
const found = recordings ?? new Map<string, Recording>();
/** Where there are no recordings there is nothing to compare; a line on standard error has said so. */
const describeRecorded = recordings === null ? leaveOut : describe;

let world: World;
let volid: string;
beforeAll(async () => {
  world = await openRecordedNode();
  const params = {
    vmid: '101',
    storage: 'bk',
    mode: 'snapshot',
    compress: 'zstd',
    'notes-template': '{{guestname}} {{vmid}} {{node}}\\nsecond line',
  };
  await world.ended(await world.vzdump(params));
  volid = (await items())[0]?.['volid'] as string;
});
afterAll(() => world.close());
afterEach(() => world.sim.faults.clear());

type Item = Record<string, unknown>;
const items = (): Promise<Item[]> => world.data('GET', '/nodes/pve1/storage/bk/content?content=backup&vmid=101');
const item = (): string => `/nodes/pve1/storage/bk/content/${encodeURIComponent(volid)}`;

function recordedData(name: string): unknown {
  return (JSON.parse(found.get(name)?.response.body_text ?? '{}') as { data: unknown }).data;
}

function keysOf(value: unknown): string[] {
  return Object.keys(value as object).toSorted();
}

/** A restored guest's log without what only a raw volume needs, and without names that differ. */
function restoreLog(lines: readonly string[]): string[] {
  const volume = /^(Formatting|Creating filesystem|Filesystem UUID|Superblock|\s+\d+, )/;
  return normaliseLog(lines.filter((line) => !volume.test(line))).map((line) =>
    line.replaceAll(/vzdump-lxc-101-[\w-]+/g, 'ARCHIVE'),
  );
}

describeRecorded('backups on storage, as recorded', () => {
  it('are listed with the first line of their notes', async () => {
    const recorded = recordedData('content-backup-vmid') as Item[];
    const [mine] = await items();
    expect(keysOf(mine)).toEqual(keysOf(recorded[0]));
    expect(mine).toMatchObject({
      vmid: 101,
      format: 'tar.zst',
      subtype: 'lxc',
      content: 'backup',
      notes: 'ct101 101 pve1',
    });
  });

  it('have another shape when one is looked at', async () => {
    const one = await world.data<Item>('GET', item());
    expect(keysOf(one)).toEqual(keysOf(recordedData('content-item-get-with-notes')));
    expect(one).toMatchObject({ format: 'raw', protected: 0, notes: 'ct101 101 pve1\nsecond line' });
    expect(Number(one['size']) % 512).toBe(0);
    await world.data('PUT', item(), { notes: 'line one\nline two\nünï' });
    expect(await world.data('GET', item())).toMatchObject({ notes: 'line one\nline two\nünï' });
    await world.data('PUT', item(), { notes: '' });
    expect(await world.data('GET', item())).toMatchObject({ notes: '' });
    expect((await items())[0]).not.toHaveProperty('notes');
  });

  it('are not shown to who may not back up their guest', async () => {
    const token = `${limitedToken.id}=${limitedToken.secret}`;
    const seen = await world.api('GET', '/nodes/pve1/storage/bk/content', {}, { token });
    expect(seen.json?.data).toHaveLength(1);
  });

  it('show the configuration inside', async () => {
    expect(await world.data('GET', '/nodes/pve1/vzdump/extractconfig', { volume: volid })).toBe(
      recordedData('extractconfig'),
    );
  });

  it('are not removed while protected', async () => {
    await world.data('PUT', item(), { protected: 1 });
    expect(await items()).toEqual([expect.objectContaining({ protected: 1 })]);
    const upid = await world.data<string>('DELETE', item());
    expect(upid).toMatch(/:imgdel:101@bk:/);
    const name = volid.slice('bk:'.length);
    expect(await world.ended(upid)).toBe(`cannot remove protected volume '${name}' on 'bk'`);
    await world.data('PUT', item(), { protected: 0 });
  });

  it('are marked before they are pruned', async () => {
    await nextSecond();
    await world.ended(await world.vzdump({ vmid: '101', storage: 'bk', mode: 'snapshot', compress: 'zstd' }));
    const marks = await world.data<Item[]>('GET', '/nodes/pve1/storage/bk/prunebackups', {
      vmid: 101,
      'prune-backups': 'keep-last=1',
    });
    expect(marks.map((mark) => mark['mark'])).toEqual(['remove', 'keep']);
    expect(keysOf(marks[0])).toEqual(keysOf((recordedData('prunebackups-dryrun') as Item[])[0]));
  });

  it('restore beside the guest, over it by force, and never over one that runs', async () => {
    const params = { vmid: 201, ostemplate: volid, restore: 1, storage: 'local' };
    const upid = await world.data<string>('POST', '/nodes/pve1/lxc', params);
    expect(upid).toMatch(/:vzrestore:201:/);
    expect(await world.ended(upid)).toBe('OK');
    expect(restoreLog(await world.log(upid))).toEqual(restoreLog(recordedLog(found, 'restore-new.task.log')));
    expect(await world.data('GET', '/nodes/pve1/lxc/201/config')).toEqual(recordedData('restore-new.config'));
    expect(await world.api('POST', '/nodes/pve1/lxc', params)).toMatchObject({
      status: 500,
      reason: "CT 201 already exists on node 'pve1'",
    });
    expect(await world.ended(await world.data('POST', '/nodes/pve1/lxc', { ...params, force: 1, start: 1 }))).toBe(
      'OK',
    );
    expect(await world.api('POST', '/nodes/pve1/lxc', { ...params, force: 1 })).toMatchObject({
      status: 500,
      reason: "can't overwrite running container",
    });
    await world.ended(await world.data('POST', '/nodes/pve1/lxc/201/status/stop'));
    const destroyed = await world.data<string>('DELETE', '/nodes/pve1/lxc/201?purge=1');
    expect(await world.ended(destroyed)).toBe('OK');
    expect(await world.log(destroyed)).toEqual(recordedLog(found, 'delete-stopped.task.log'));
  });

  it('are gone when removed, and removing them again is no error', async () => {
    expect(await world.data('DELETE', `${item()}?delay=5`)).toBeNull();
    expect((await items()).some((one) => one['volid'] === volid)).toBe(false);
    expect(await world.ended(await world.data('DELETE', item()))).toBe('OK');
    expect(await world.api('GET', item())).toMatchObject({
      status: 500,
      reason: `volume_size_info on '${volid}' failed - no format`,
    });
  });
});

describeRecorded('lists of tasks, as recorded', () => {
  it('hold what is over, newest first, with a total', async () => {
    const answer = await world.api('GET', '/nodes/pve1/tasks?limit=2&typefilter=vzdump');
    const recorded = JSON.parse(found.get('tasks-list-vzdump')?.response.body_text ?? '{}') as {
      data: Item[];
      total: number;
    };
    const [newest] = (answer.json?.data ?? []) as Item[];
    expect(keysOf(newest)).toEqual(keysOf(recorded.data[0]));
    expect(answer.json?.total).toBe(2);
    expect(await world.data('GET', '/nodes/pve1/tasks?vmid=999')).toEqual([]);
    const errors = await world.data<Item[]>('GET', '/nodes/pve1/tasks?errors=1');
    expect(errors.every((task) => task['status'] !== 'OK')).toBe(true);
  });

  it('hold what runs when it is asked for, with its whole owner', async () => {
    world.sim.faults.order({ fault: 'slow_archive', ms: 60_000 });
    const upid = await world.vzdump({ vmid: '101', storage: 'bk' });
    await world.logged(upid, /creating vzdump archive/);
    const active = await world.data<Item[]>('GET', '/nodes/pve1/tasks?source=active&vmid=101');
    expect(active).toEqual([expect.objectContaining({ upid, user: 'root@pam!sim', saved: '0' })]);
    expect(active[0]).not.toHaveProperty('endtime');
    expect((await world.data<Item[]>('GET', '/nodes/pve1/tasks?vmid=101')).some((task) => task['upid'] === upid)).toBe(
      false,
    );
    await world.api('DELETE', `/nodes/pve1/tasks/${encodeURIComponent(upid)}`);
  });

  it('a log is read in pages, from line 0, 50 at a time', async () => {
    const upid = await world.vzdump({ vmid: '101', storage: 'bk' });
    await world.ended(upid);
    const path = `/nodes/localhost/tasks/${upid}/log`;
    const page = await world.api('GET', `${path}?start=2&limit=1`);
    expect(page.json).toMatchObject({ data: [{ n: 3, t: expect.stringMatching(/^INFO: Backup started at/) }] });
    expect(page.json?.total).toBe((await world.log(upid)).length);
    expect(await world.data('GET', `${path}?start=500`)).toEqual([]);
    const lost = 'UPID:pve1:00000155:00025D1E:00000001:vzstart:100:root@pam!sim:';
    expect(await world.data('GET', `/nodes/pve1/tasks/${lost}/log`)).toEqual([
      { n: 1, t: 'unable to open file - No such file or directory' },
    ]);
  });
});
