import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { limitedToken, openRecordedNode, recordedConfigs } from './testing/recorded-node.ts';
import { leaveOut, normaliseLog, openRecordings, type Recording, recordedLog } from './testing/recordings.ts';
import { nextSecond, type WireParams, type World } from './testing/world.ts';

const recordings = openRecordings();
const found = recordings ?? new Map<string, Recording>();
/** Where there are no recordings there is nothing to compare; a line on standard error has said so. */
const describeRecorded = recordings === null ? leaveOut : describe;

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

interface Outcome {
  log: string[];
  end: string;
}

function outcome(lines: readonly string[], end: string): Outcome {
  return { log: normaliseLog(lines.filter((line) => !pruning(line))), end };
}

function recorded(name: string): Outcome {
  return outcome(recordedLog(found, `${name}.task.log`), expectedEnd(name));
}

/** What the recorded job does on our own node. */
async function replayed(name: string): Promise<Outcome> {
  return outcomeOf(world, await world.vzdump(paramsOf(name)));
}

async function outcomeOf(node: World, upid: string): Promise<Outcome> {
  const end = await node.ended(upid);
  return outcome(await node.log(upid), end);
}

/** What is pruned depends on what lay there before. */
const pruning = (line: string): boolean => /removing backup|^INFO: pruned /.test(line);
const setGuest = (vmid: number, change: object): Promise<unknown> =>
  world.control('POST', `/sim/guests/${vmid}`, change);

describeRecorded('a vzdump task writes the recorded log', () => {
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
    expect(await replayed(name)).toEqual(recorded(name));
  });

  it('with an array of excluded paths, repeated in the form', async () => {
    const { body } = found.get('vzdump-exclude-path-array')?.request ?? { body: '' };
    const answer = await world.api('POST', '/nodes/pve1/vzdump', {}, { body });
    const seen = await outcomeOf(world, String(answer.json?.data));
    expect(seen).toEqual(recorded('vzdump-exclude-path-array'));
  });

  it('of a stopped guest, whatever mode was asked', async () => {
    await setGuest(102, { running: false });
    expect(await replayed('vzdump-stopped-snapshot-mode')).toEqual(recorded('vzdump-stopped-snapshot-mode'));
    await setGuest(102, { running: true });
  });

  it('of a locked guest', async () => {
    await setGuest(100, { running: false, lock: 'backup' });
    expect(await replayed('locked-vzdump')).toEqual(recorded('locked-vzdump'));
    await setGuest(100, { running: true, lock: null });
  });

  it('of a guest that appears twice in one job', async () => {
    await setGuest(101, { running: false });
    expect(await replayed('vzdump-vmid-list-duplicate')).toEqual(recorded('vzdump-vmid-list-duplicate'));
    await setGuest(101, { running: true });
  });

  it('by a token that may back up and no more', async () => {
    await setGuest(101, { running: false });
    const token = `${limitedToken.id}=${limitedToken.secret}`;
    const answer = await world.api('POST', '/nodes/pve1/vzdump', paramsOf('vzdump-by-limited-token'), { token });
    const seen = await outcomeOf(world, String(answer.json?.data));
    expect(seen).toEqual(recorded('vzdump-by-limited-token'));
    await setGuest(101, { running: true });
  });

  it('when the storage is full', async () => {
    world.sim.faults.order({ fault: 'storage_full', storage: 'small' });
    expect(await replayed('vzdump-storage-full')).toEqual(recorded('vzdump-storage-full'));
    expect(await world.data('GET', '/nodes/pve1/lxc/101/config')).not.toHaveProperty('lock');
  });

  it('when it is ended in the middle of the archive', async () => {
    world.sim.faults.order({ fault: 'slow_archive', ms: 60_000 });
    const upid = await world.vzdump(paramsOf('vzdump-aborted'));
    await world.logged(upid, /creating vzdump archive/);
    expect((await world.api('DELETE', `/nodes/pve1/tasks/${encodeURIComponent(upid)}`)).text).toBe('{"data":null}');
    expect(await outcomeOf(world, upid)).toEqual(recorded('vzdump-aborted'));
    const after = JSON.parse(found.get('vzdump-aborted.config-after')?.response.body_text ?? '{}') as { data: unknown };
    expect(await world.data('GET', '/nodes/pve1/lxc/101/config')).toEqual(after.data);
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
    expect(await outcomeOf(world, upid)).toEqual(recorded('vzdump-stop-mode-aborted-fast'));
    expect(await world.data('GET', '/nodes/pve1/lxc/101/status/current')).toMatchObject({ status: 'running' });
  });

  it('when another job holds the node: waiting, and not waiting', async () => {
    world.sim.faults.order({ fault: 'slow_archive', ms: 60_000, vmid: 101 });
    const first = await world.vzdump(paramsOf('vzdump-concurrent-first'));
    await world.logged(first, /creating vzdump archive/);
    const second = await world.vzdump(paramsOf('vzdump-concurrent-second-waits'));
    await world.logged(second, /trying to get global lock/);
    expect(await replayed('vzdump-concurrent-third-lockwait0')).toEqual(recorded('vzdump-concurrent-third-lockwait0'));
    expect(await world.data('GET', '/nodes/pve1/lxc/100/config')).not.toHaveProperty('lock');
    await world.api('DELETE', `/nodes/pve1/tasks/${encodeURIComponent(first)}`);
    expect(await outcomeOf(world, second)).toEqual(recorded('vzdump-concurrent-second-waits'));
  });

  it('after the worker was killed: locked, then an old snapshot', async () => {
    world.sim.faults.order({ fault: 'kill_worker', at: 'archive', vmid: 101 });
    const upid = await world.vzdump({ vmid: '101', storage: 'bk', mode: 'snapshot', compress: 'zstd' });
    expect(await world.ended(upid)).toBe('unexpected status');
    expect(await world.data('GET', '/nodes/pve1/lxc/101/config')).toMatchObject({ lock: 'backup', parent: 'vzdump' });
    expect(await replayed('vzdump-after-worker-killed')).toEqual(recorded('vzdump-after-worker-killed'));
    await setGuest(101, { lock: null });
    expect(await replayed('vzdump-after-worker-killed-and-unlock')).toEqual(
      recorded('vzdump-after-worker-killed-and-unlock'),
    );
  });
});

describeRecorded('a storage that is not to be pruned', () => {
  it('refuses a backup beyond its limit', async () => {
    for (let count = 0; count < 3; count += 1) {
      await world.ended(await world.vzdump({ vmid: '100', storage: 'bk', compress: 'zstd', mode: 'stop' }));
      await nextSecond();
    }
    expect(await replayed('vzdump-backup-limit-1')).toEqual(recorded('vzdump-backup-limit-1'));
  });
});

describeRecorded('volumes without snapshots', () => {
  it('one of them makes the whole guest fall back to suspend', async () => {
    const own = await openRecordedNode({
      102: `${recordedConfigs[102]}mp2: local:102/vm-102-disk-1.raw,mp=/srv/ondir,backup=1,size=1G\n`,
    });
    try {
      const name = 'vzdump-one-volume-without-snapshots';
      const seen = await outcomeOf(own, await own.vzdump(paramsOf(name)));
      expect(seen).toEqual(recorded(name));
    } finally {
      await own.close();
    }
  });
});
