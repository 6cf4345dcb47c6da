import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@felhom/kernel/clock.ts';
import { createPveClient, type PveClient } from '@felhom/proxmox/client.ts';
import { type FollowEnd, followTask } from '@felhom/proxmox/follow-task.ts';
import type { GuestRef } from '@felhom/proxmox/guests.ts';
import type { CallOptions } from '@felhom/proxmox/http.ts';
import { resolveLostStart } from '@felhom/proxmox/lost-start.ts';
import { parseVmid, type Upid } from '@felhom/proxmox/upid.ts';
import { markOf, type VzdumpAnswer, type VzdumpMode } from '@felhom/proxmox/vzdump.ts';
import { emptyVzdumpLog, type GuestLog, guestLog, readVzdumpLog } from '@felhom/proxmox/vzdump-log.ts';
import type { PveSimOptions } from '@felhom/pve-sim/options.ts';
import { type PveSim, startPveSim } from '@felhom/pve-sim/sim.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { waitUntil } from './suite/backups.ts';

/** What a real node cannot be asked for: everything that goes wrong, ordered of the simulated one. */
const ct: GuestRef = { vmid: parseVmid(101), kind: 'lxc' };
let folder: string;
let sim: PveSim;
let pve: PveClient;

async function options(listen = '127.0.0.1:0'): Promise<PveSimOptions> {
  const dir = join(folder, 'guest');
  return {
    listen,
    state: join(folder, 'state'),
    node: 'pve1',
    guests: [{ vmid: ct.vmid, dir, name: 'faulty' }],
    storages: [{ id: 'bk', dir: join(folder, 'bk') }],
    authDelayMs: 50,
    warn: () => undefined,
  };
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-faults-'));
  sim = await startPveSim(await options());
  await writeFile(join(folder, 'guest', 'data'), 'kept\n'.repeat(1_000));
  const tls = { kind: 'fingerprint', fingerprint: sim.fingerprint } as const;
  pve = createPveClient({
    url: sim.url,
    node: sim.node,
    token: sim.token,
    tls,
    writeTimeoutMs: 10_000,
  });
});

afterEach(async () => {
  sim.faults.clear();
  await pve.close();
  await sim.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

const start = (mode: VzdumpMode = 'snapshot', jobId = 'j1', bounds: CallOptions = {}): Promise<VzdumpAnswer> =>
  pve.vzdump.start({ vmid: ct.vmid, storage: 'bk', mode, mark: markOf(jobId), lockwaitMinutes: 0 }, bounds);

async function started(answer: VzdumpAnswer | Promise<VzdumpAnswer>): Promise<Upid> {
  const got = await answer;
  if (got.kind === 'started') return got.upid;
  throw new Error(`not started: ${got.kind}`);
}

interface Followed {
  end: FollowEnd;
  guest: GuestLog | null;
  failedPolls: readonly string[];
}

async function follow(
  upid: Upid,
  whileRunning: (guest: GuestLog | null) => void | Promise<void> = () => undefined,
  failedPolls: string[] = [],
): Promise<Followed> {
  let log = emptyVzdumpLog;
  const end = await followTask({ tasks: pve.tasks, clock: systemClock }, upid, {
    signal: AbortSignal.timeout(25_000),
    pollTimeoutMs: 300,
    onPollFailed: (error) => void failedPolls.push(error.fault.kind),
    onLines: (lines) => {
      log = readVzdumpLog(log, lines);
      return whileRunning(guestLog(log, ct.vmid));
    },
  });
  return { end, guest: guestLog(log, ct.vmid), failedPolls };
}

describe('a start', () => {
  const find = (mark: string, certainAfterMs: number) =>
    resolveLostStart(
      { tasks: pve.tasks, clock: systemClock },
      { mark, vmid: ct.vmid, sinceSeconds: 0, intentAgeMs: 0, certainAfterMs },
      { everyMs: 50 },
    );

  it.each([
    { fault: 'drop_answer', method: 'POST' },
    { fault: 'truncated_json', method: 'POST' },
    { fault: 'lie', method: 'POST', data: { task: 'begun' } },
  ] as const)('whose answer is lost ($fault) is found by its mark and followed to its end', async (fault) => {
    sim.faults.order(fault);
    expect((await start()).kind).toBe('lost');
    const found = await find(markOf('j1'), 35_000);
    if (found.kind !== 'found') throw new Error(found.kind);
    expect((await follow(found.upid)).end).toMatchObject({ end: { kind: 'ok' } });
    expect(await pve.storage.backups('bk')).toHaveLength(1);
  });

  it.each([
    { fault: 'hang', method: 'POST' },
    { fault: 'reset', method: 'POST' },
  ] as const)(
    'that never arrived ($fault) is lost first, and certainly none after the time that a start may take',
    async (fault) => {
      sim.faults.order(fault);
      expect((await start('snapshot', 'j1', { timeoutMs: 400 })).kind).toBe('lost');
      expect(await find(markOf('j1'), 300)).toEqual({ kind: 'not-started' });
      expect(await pve.tasks.list()).toEqual([]);
    },
  );

  it('is elsewhere when PVE answers "OK", and refused when it says so', async () => {
    sim.faults.order({ fault: 'ok_without_upid' });
    expect((await start()).kind).toBe('elsewhere');
    sim.faults.order({ fault: 'refuse', method: 'POST', text: 'no' });
    expect(await start()).toMatchObject({ kind: 'refused', error: { text: 'no' } });
    sim.faults.order({ fault: 'daemon_down', method: 'POST' });
    expect(await start()).toMatchObject({
      kind: 'refused',
      error: { fault: { kind: 'transport', outcome: 'not-sent' } },
    });
    sim.faults.order({ fault: 'unauthorized', method: 'POST' });
    expect(await start()).toMatchObject({ kind: 'refused', error: { fault: { kind: 'auth' } } });
    sim.faults.order({ fault: 'html', method: 'POST' });
    expect((await start()).kind).toBe('lost');
  });
});

describe('following a job', () => {
  it('goes on through every kind of failed poll', async () => {
    const upid = await started(start());
    for (const fault of [
      'html',
      'truncated_json',
      'unauthorized',
      'hang',
      'reset',
      'daemon_down',
      'drop_answer',
    ] as const) {
      sim.faults.order({ fault, method: 'GET', path: '/tasks/' });
    }
    sim.faults.order({ fault: 'refuse', method: 'GET', path: '/tasks/', text: 'not now' });
    const { end, guest, failedPolls } = await follow(upid);
    expect(end).toMatchObject({ end: { kind: 'ok' } });
    expect(guest).toMatchObject({
      proof: { text: expect.stringContaining('creating vzdump archive') },
      result: { kind: 'finished' },
    });
    expect(failedPolls.length).toBeGreaterThan(3);
  });

  it('goes on when the node answers again after a restart, and the job ran on meanwhile', async () => {
    sim.faults.order({ fault: 'slow_archive', ms: 1_500 });
    const upid = await started(start());
    const address = new URL(sim.url).host;
    const failedPolls: string[] = [];
    const followed = follow(upid, () => undefined, failedPolls);
    await sim.stop();
    await waitUntil('a poll has failed', async () => failedPolls.includes('transport'));
    sim = await startPveSim(await options(address));
    expect((await followed).end).toMatchObject({ end: { kind: 'ok' } });
  });

  it('sees the proof while the archive is still being written', async () => {
    sim.faults.order({ fault: 'slow_archive', ms: 1_000 });
    const upid = await started(start());
    let running: boolean | null = null;
    await follow(upid, async (guest) => {
      if (guest?.proof != null) running ??= (await pve.tasks.status(upid)).end === null;
    });
    expect(running).toBe(true);
  });

  it('tells a snapshot that failed from an archive that did', async () => {
    sim.faults.order({ fault: 'fail_snapshot', text: 'no space in the pool' });
    const noSnapshot = await follow(await started(start()));
    expect(noSnapshot.end).toMatchObject({
      end: { kind: 'failed', reason: 'job errors' },
      reason: expect.stringContaining('no space in the pool'),
    });
    expect(noSnapshot.guest).toMatchObject({ proof: null, result: { kind: 'failed' } });
    sim.faults.order({ fault: 'fail_archive', text: 'disk full' });
    const noArchive = await follow(await started(start()));
    expect(noArchive.guest).toMatchObject({
      proof: { line: expect.any(Number) },
      result: { kind: 'failed', reason: expect.stringContaining('disk full') },
    });
    expect(await pve.storage.backups('bk')).toEqual([]);
  });

  it.each(['snapshot', 'archive'] as const)('tells of a worker that was killed (%s)', async (at) => {
    sim.faults.order({ fault: 'kill_worker', at });
    const { end, guest } = await follow(await started(start()));
    expect(end).toMatchObject({ end: { kind: 'failed', died: true, reason: 'unexpected status' } });
    expect(guest?.proof === null).toBe(at === 'snapshot');
    expect(guest?.result).toBe(null);
    expect((await pve.guests.status(ct)).lock).toBe('backup');
    const next = await follow(await started(start()));
    expect(next.end).toMatchObject({ reason: expect.stringContaining('CT is locked (backup)') });
  });

  it('tells of a guest that a job left down although it says OK', async () => {
    sim.faults.order({ fault: 'leave_down' });
    const { end, guest } = await follow(await started(start('stop')));
    expect(end).toMatchObject({ end: { kind: 'ok' } });
    expect(guest).toMatchObject({ downtime: { kind: 'stopped', backOnline: false }, result: { kind: 'finished' } });
    expect((await pve.guests.status(ct)).running).toBe(false);
  });

  it('tells of a full storage', async () => {
    sim.faults.order({ fault: 'storage_full', storage: 'bk' });
    const { end } = await follow(await started(start()));
    expect(end).toMatchObject({ reason: expect.stringMatching(/No space left/) });
  });
});

describe('a storage', () => {
  it('that is not active says so', async () => {
    sim.faults.order({ fault: 'storage_inactive', storage: 'bk' });
    await expect(pve.storage.backups('bk')).rejects.toMatchObject({ fault: { kind: 'storage-inactive' } });
    expect((await pve.storage.list()).find(({ name }) => name === 'bk')).toMatchObject({
      active: false,
      totalBytes: 0,
    });
  });
});

describe('a node whose daemon is down', () => {
  it('still tells its version and configurations, and lists nothing', async () => {
    sim.faults.order({ fault: 'daemon_down', times: 0 });
    expect((await pve.nodes.version()).release).not.toBe('');
    expect((await pve.guests.config(ct)).digest).not.toBe('');
    await expect(pve.guests.list()).rejects.toMatchObject({
      status: 595,
      fault: { kind: 'transport', outcome: 'not-sent' },
    });
  });
});
