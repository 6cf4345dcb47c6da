import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { limitedToken, openRecordedNode, recordedConfigs } from './testing/recorded-node.ts';
import { normaliseLog, openRecordings, type Recording, recordedLog } from './testing/recordings.ts';
import type { WireParams, World } from './testing/world.ts';

const recordings = openRecordings();
const found = recordings ?? new Map<string, Recording>();

let world: World;
beforeAll(async () => {
  world = await openRecordedNode();
});
afterAll(() => world.close());
afterEach(() => world.sim.faults.clear());

function paramsOf(name: string): WireParams {
  const { body, encoding } = found.get(name)?.request ?? { body: '', encoding: null };
  if (encoding === 'json') return JSON.parse(body) as WireParams;
  return Object.fromEntries(new URLSearchParams(body));
}

function expectedEnd(name: string): string {
  const body = JSON.parse(found.get(`${name}.task.status`)?.response.body_text ?? '{}') as {
    data?: { exitstatus?: string };
  };
  return body.data?.exitstatus ?? '';
}

/** Runs the recorded job and holds its log and exit status against the recorded ones. */
async function expectSameLog(name: string, except: (line: string) => boolean = () => false): Promise<void> {
  const upid = await world.vzdump(paramsOf(name));
  const end = await world.ended(upid);
  const expected = recordedLog(found, `${name}.task.log`);
  const kept = (lines: readonly string[]): string[] => normaliseLog(lines.filter((line) => !except(line)));
  expect(kept(await world.log(upid)), name).toEqual(kept(expected));
  expect(end, name).toBe(expectedEnd(name));
}

const pruning = (line: string): boolean => /removing backup|^INFO: pruned /.test(line);
const setGuest = (vmid: number, change: object): Promise<unknown> =>
  world.control('POST', `/sim/guests/${vmid}`, change);

describe.skipIf(recordings === null)('a vzdump task writes the recorded log', () => {
  it.each([
    'vzdump-btrfs-snapshot-running',
    'vzdump-btrfs-snapshot-protected',
    'vzdump-dir-snapshot-running-falls-back',
    'vzdump-dir-stop-running',
    'vzdump-dir-suspend-running',
    'vzdump-multi-volume-snapshot',
    'vzdump-stop-mode-midway',
    'vzdump-prune-keep-last-1',
    'vzdump-warning-exclude-trailing-slash',
    'vzdump-quiet',
    'vzdump-storage-wrong-content',
  ])('%s', async (name) => {
    await expectSameLog(name, pruning);
  });

  it('with an array of excluded paths, repeated in the form', async () => {
    const { body } = found.get('vzdump-exclude-path-array')?.request ?? { body: '' };
    const answer = await world.api('POST', '/nodes/pve1/vzdump', {}, { body });
    await world.ended(String(answer.json?.data));
    const lines = (await world.log(String(answer.json?.data))).filter((line) => !pruning(line));
    const expected = recordedLog(found, 'vzdump-exclude-path-array.task.log').filter((line) => !pruning(line));
    expect(normaliseLog(lines)).toEqual(normaliseLog(expected));
  });

  it('of a stopped guest, whatever mode was asked', async () => {
    await setGuest(102, { running: false });
    await expectSameLog('vzdump-stopped-snapshot-mode', pruning);
    await setGuest(102, { running: true });
  });

  it('of a locked guest', async () => {
    await setGuest(100, { running: false, lock: 'backup' });
    await expectSameLog('locked-vzdump');
    await setGuest(100, { running: true, lock: null });
  });

  it('of a guest that appears twice in one job', async () => {
    await setGuest(101, { running: false });
    await expectSameLog('vzdump-vmid-list-duplicate', pruning);
    await setGuest(101, { running: true });
  });

  it('by a token that may back up and no more', async () => {
    await setGuest(101, { running: false });
    const token = `${limitedToken.id}=${limitedToken.secret}`;
    const answer = await world.api('POST', '/nodes/pve1/vzdump', paramsOf('vzdump-by-limited-token'), { token });
    const upid = String(answer.json?.data);
    expect(await world.ended(upid)).toBe('OK');
    const expected = recordedLog(found, 'vzdump-by-limited-token.task.log').filter((line) => !pruning(line));
    expect(normaliseLog((await world.log(upid)).filter((line) => !pruning(line)))).toEqual(normaliseLog(expected));
    await setGuest(101, { running: true });
  });

  it('when the storage is full', async () => {
    world.sim.faults.order({ fault: 'storage_full', storage: 'small' });
    await expectSameLog('vzdump-storage-full');
    expect(await world.data('GET', '/nodes/pve1/lxc/101/config')).not.toHaveProperty('lock');
  });

  it('when it is ended in the middle of the archive', async () => {
    world.sim.faults.order({ fault: 'slow_archive', ms: 60_000 });
    const upid = await world.vzdump(paramsOf('vzdump-aborted'));
    await world.logged(upid, /creating vzdump archive/);
    expect((await world.api('DELETE', `/nodes/pve1/tasks/${encodeURIComponent(upid)}`)).text).toBe('{"data":null}');
    expect(await world.ended(upid)).toBe('job errors');
    expect(normaliseLog(await world.log(upid))).toEqual(normaliseLog(recordedLog(found, 'vzdump-aborted.task.log')));
    expect(await world.data('GET', '/nodes/pve1/lxc/101/config')).toEqual({
      ...(await world.data<object>('GET', '/nodes/pve1/lxc/101/config')),
      parent: undefined,
    });
  });

  it('when it is ended in stop mode: the guest runs again', async () => {
    world.sim.faults.order({ fault: 'slow_archive', ms: 60_000 });
    const upid = await world.vzdump(paramsOf('vzdump-stop-mode-aborted-fast'));
    await world.logged(upid, /creating vzdump archive/);
    expect(await world.data('GET', '/nodes/pve1/lxc/101/status/current')).toMatchObject({
      status: 'stopped',
      lock: 'backup',
    });
    await world.api('DELETE', `/nodes/pve1/tasks/${encodeURIComponent(upid)}`);
    expect(normaliseLog(await world.log(upid))).toEqual(
      normaliseLog(recordedLog(found, 'vzdump-stop-mode-aborted-fast.task.log')),
    );
    expect(await world.data('GET', '/nodes/pve1/lxc/101/status/current')).toMatchObject({ status: 'running' });
  });

  it('when another job holds the node: waiting, and not waiting', async () => {
    world.sim.faults.order({ fault: 'slow_archive', ms: 60_000, vmid: 101 });
    const first = await world.vzdump(paramsOf('vzdump-concurrent-first'));
    await world.logged(first, /creating vzdump archive/);
    const second = await world.vzdump(paramsOf('vzdump-concurrent-second-waits'));
    await world.logged(second, /trying to get global lock/);
    await expectSameLog('vzdump-concurrent-third-lockwait0');
    expect(await world.data('GET', '/nodes/pve1/lxc/100/config')).not.toHaveProperty('lock');
    await world.api('DELETE', `/nodes/pve1/tasks/${encodeURIComponent(first)}`);
    expect(await world.ended(second)).toBe('OK');
    const lines = (await world.log(second)).filter((line) => !pruning(line));
    const expected = recordedLog(found, 'vzdump-concurrent-second-waits.task.log').filter((line) => !pruning(line));
    expect(normaliseLog(lines)).toEqual(normaliseLog(expected));
  });

  it('after the worker was killed: locked, then an old snapshot', async () => {
    world.sim.faults.order({ fault: 'kill_worker', at: 'archive', vmid: 101 });
    const upid = await world.vzdump({ vmid: '101', storage: 'bk', mode: 'snapshot', compress: 'zstd' });
    expect(await world.ended(upid)).toBe('unexpected status');
    expect(await world.data('GET', '/nodes/pve1/lxc/101/config')).toMatchObject({ lock: 'backup', parent: 'vzdump' });
    await expectSameLog('vzdump-after-worker-killed');
    await setGuest(101, { lock: null });
    await expectSameLog('vzdump-after-worker-killed-and-unlock', pruning);
  });
});

describe.skipIf(recordings === null)('a storage that is not to be pruned', () => {
  it('refuses a backup beyond its limit', async () => {
    for (const _ of [1, 2, 3])
      await world
        .ended(await world.vzdump({ vmid: '100', storage: 'bk', compress: 'zstd', mode: 'stop' }))
        .then(() => nextSecond());
    await expectSameLog('vzdump-backup-limit-1');
  });
});

describe.skipIf(recordings === null)('volumes without snapshots', () => {
  it('one of them makes the whole guest fall back to suspend', async () => {
    const own = await openRecordedNode({
      102: `${recordedConfigs[102]}mp2: local:102/vm-102-disk-1.raw,mp=/srv/ondir,backup=1,size=1G\n`,
    });
    try {
      const upid = await own.vzdump(paramsOf('vzdump-one-volume-without-snapshots'));
      expect(await own.ended(upid)).toBe('OK');
      const expected = recordedLog(found, 'vzdump-one-volume-without-snapshots.task.log');
      expect(normaliseLog(await own.log(upid))).toEqual(normaliseLog(expected));
    } finally {
      await own.close();
    }
  });
});

/** File names have a stamp of one second: two backups of a guest within one would be one. */
async function nextSecond(): Promise<void> {
  const second = Math.floor(Date.now() / 1000);
  while (Math.floor(Date.now() / 1000) === second) await new Promise((resolve) => setTimeout(resolve, 10));
}
