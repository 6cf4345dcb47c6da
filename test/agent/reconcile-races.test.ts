import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openJournal } from '@felhom/durable/journal.ts';
import { PveError } from '@felhom/proxmox/errors.ts';
import { jobRecord, newJob } from 'felhom-agent/backup/job.ts';
import { runPass } from 'felhom-agent/reconcile/pass.ts';
import type { ReconcilePorts } from 'felhom-agent/reconcile/ports.ts';
import type { PassReport } from 'felhom-agent/reconcile/report.ts';
import { openGuestsState } from 'felhom-agent/serve/guests-state.ts';
import { guestsFile, journalPath, lanesFolder } from 'felhom-agent/state-files.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { openReconcileRig, type ReconcileRig, type ReconcileRigOptions } from './reconcile-rig.ts';
import { until } from './rig.ts';

let rig: ReconcileRig;
const open = async (options: ReconcileRigOptions): Promise<ReconcileRig> => {
  rig = await openReconcileRig(options);
  return rig;
};
afterEach(async () => await rig.close());

const stopped = { vmid: 101, running: false, desired: { state: 'running' } } as const;
const ours = 'vzstart 101 felhom@pve!agent';

/** One pass whose calls to the node's guests go through `change`. */
async function passThrough(
  change: (guests: ReconcilePorts['pve']['guests']) => Partial<ReconcilePorts['pve']['guests']>,
): Promise<PassReport> {
  const { ports, limits } = await rig.open();
  const guests = { ...ports.pve.guests, ...change(ports.pve.guests) };
  const { node, user, tasks, nodes } = ports.pve;
  return await runPass(
    { ...ports, pve: { node, user, tasks, nodes, guests } },
    {
      limits,
      vmids: null,
      allowStops: null,
      allowMemoryBelowUse: false,
      lockTimeoutMs: 5_000,
      stop: new AbortController().signal,
    },
  );
}
const lost = (): never => {
  const fault = { kind: 'transport', outcome: 'unknown' } as const;
  throw new PveError({ fault, call: 'POST start', text: 'the connection broke' });
};

describe('an answer that is lost', () => {
  it('after the effect: the task is found by the task list, and nothing is asked twice', async () => {
    const { pass, fault, tasks } = await open({ guests: [stopped] });
    await fault({ fault: 'drop_answer', method: 'POST', path: '/status/start' });
    const report = await pass();
    expect(report.guests).toMatchObject([
      { outcome: 'applied', actions: [{ outcome: 'done', upid: expect.stringContaining(':vzstart:101:') }] },
    ]);
    expect(tasks()).toEqual([ours]);
  });

  it('before the effect: that it never started is concluded late, and only then it is asked again', async () => {
    const { pass, fault, tasks, open: openPorts } = await open({ guests: [stopped] });
    await fault({ fault: 'reset', method: 'POST', path: '/status/start' });
    const report = await pass();
    expect(report.guests).toMatchObject([{ outcome: 'applied', actions: [{ outcome: 'void' }, { outcome: 'done' }] }]);
    const { ports } = await openPorts();
    const [first] = await ports.journal.entries();
    expect(first?.end?.outcome).toBe('void');
    expect(Date.parse(first?.end?.at ?? '') - Date.parse(first?.intent.at ?? '')).toBeGreaterThanOrEqual(400);
    expect(tasks()).toEqual([ours]);
  });

  it('of a shutdown: likewise', async () => {
    const { pass, fault, tasks, running } = await open({ guests: [{ vmid: 101, desired: { state: 'stopped' } }] });
    await fault({ fault: 'drop_answer', method: 'POST', path: '/status/shutdown' });
    expect((await pass()).guests).toMatchObject([{ outcome: 'applied', actions: [{ outcome: 'done' }] }]);
    expect(running(101)).toBe(false);
    expect(tasks()).toEqual(['vzshutdown 101 felhom@pve!agent']);
  });

  it('of a write: its values are found in the configuration', async () => {
    const { pass, fault, sim } = await open({
      guests: [{ vmid: 101, desired: { cores: 3, description: 'two\nlines' } }],
    });
    await fault({ fault: 'drop_answer', method: 'PUT', path: '/config' });
    const report = await pass();
    expect(report.guests).toMatchObject([
      { outcome: 'applied', actions: [{ outcome: 'done', reason: expect.stringContaining('found') }] },
    ]);
    expect(sim.guests.get(101)?.config['cores']).toBe(3);
  });

  it('while a person does the same: their task is not taken for ours, and none is added to it', async () => {
    const { tasks, running, open: openPorts } = await open({ guests: [stopped] });
    const report = await passThrough(() => ({
      start: async () => {
        await rig.person('POST', '/lxc/101/status/start');
        return lost();
      },
    }));
    expect(running(101)).toBe(true);
    expect(tasks()).toEqual(['vzstart 101 root@pam!person']);
    expect(report.guests).toMatchObject([{ outcome: 'in_sync', actions: [{ outcome: 'void', upid: null }] }]);
    const entries = await (await openPorts()).ports.journal.entries();
    expect(entries).toMatchObject([{ upid: null, end: { outcome: 'void' } }]);
  });
});

describe('somebody else at the same guest', () => {
  it('several agents at once start it once, and find it done', async () => {
    const vmids = [101, 102, 103];
    const { pass, tasks } = await open({
      guests: vmids.map((vmid) => ({ vmid, running: false, desired: { state: 'running', cores: 4 } })),
      bounds: { lock_timeout: '20s' },
    });
    const reports = await Promise.all([pass(), pass(), pass()]);
    expect(tasks().toSorted()).toEqual(vmids.map((vmid) => `vzstart ${vmid} felhom@pve!agent`));
    for (const report of reports) expect(['applied', 'in_sync']).toContain(report.outcome);
    const deeds = reports.flatMap(({ guests }) => guests.flatMap(({ actions }) => actions));
    expect(deeds.filter(({ outcome }) => outcome === 'done')).toHaveLength(6);
  });

  it('a person who starts it is waited for, and that is that', async () => {
    const { pass, fault, person, tasks } = await open({ guests: [stopped], bounds: { lock_timeout: '10s' } });
    await fault({ fault: 'slow_power', vmid: 101, ms: 600 });
    await person('POST', '/lxc/101/status/start');
    const { guests } = await pass();
    expect(guests).toMatchObject([{ outcome: 'in_sync' }]);
    // Their task may end between our look at the guest and our call: then PVE refuses ours, and nothing of it is done.
    for (const { outcome, upid } of guests[0]?.actions ?? [])
      expect({ outcome, upid }).toEqual({ outcome: 'superseded', upid: null });
    expect(tasks()).toEqual(['vzstart 101 root@pam!person']);
  });

  it('a person who starts it just before our call: PVE refuses ours, and it is in sync', async () => {
    const { tasks } = await open({ guests: [stopped] });
    const report = await passThrough((guests) => ({
      start: async (ref) => {
        await rig.person('POST', '/lxc/101/status/start');
        while (!rig.running(101)) await rig.person('GET', '/lxc/101/status/current');
        return await guests.start(ref);
      },
    }));
    expect(report.guests).toMatchObject([{ outcome: 'in_sync', actions: [{ outcome: 'superseded' }] }]);
    expect(tasks()).toEqual(['vzstart 101 root@pam!person']);
  });

  it('a person who writes the configuration just before our write keeps what they wrote; ours is planned anew', async () => {
    const { sim } = await open({ guests: [{ vmid: 101, desired: { cores: 4 } }] });
    let first = true;
    const report = await passThrough((guests) => ({
      setConfig: async (ref, change) => {
        if (first) await rig.person('PUT', '/lxc/101/config', { memory: '3072' });
        first = false;
        await guests.setConfig(ref, change);
      },
    }));
    expect(report.guests).toMatchObject([
      { outcome: 'applied', actions: [{ outcome: 'superseded' }, { outcome: 'done' }] },
    ]);
    expect(sim.guests.get(101)?.config).toMatchObject({ cores: 4, memory: 3072 });
  });

  it('a guest that leaves the node in between is nobody of ours any more', async () => {
    const { sim, tasks } = await open({ guests: [stopped] });
    const report = await passThrough((guests) => ({
      start: async (ref) => {
        sim.guests.remove(101);
        return await guests.start(ref);
      },
    }));
    expect(report.guests).toMatchObject([{ outcome: 'absent', actions: [{ outcome: 'superseded' }] }]);
    expect(tasks()).toEqual([ours]);
  });

  it('a guest that PVE has locked is waited for, and deferred when that takes too long', async () => {
    const { pass, sim } = await open({ guests: [stopped] });
    sim.guests.update(101, (guest) => {
      guest.lock = 'backup';
    });
    expect(await pass({ lockTimeoutMs: 100 })).toMatchObject({
      outcome: 'incomplete',
      guests: [{ outcome: 'deferred', reason: expect.stringContaining('backup'), actions: [] }],
    });
    const waiting = pass({ lockTimeoutMs: 10_000 });
    sim.guests.update(101, (guest) => {
      delete guest.lock;
    });
    expect(await waiting).toMatchObject({ guests: [{ outcome: 'applied' }] });
  });

  it('guests whose stop had to wait are judged with the others: too many are not stopped once their locks are gone', async () => {
    const vmids = [101, 102, 103];
    const { sim, tasks } = await open({ guests: vmids.map((vmid) => ({ vmid, desired: { state: 'stopped' } })) });
    for (const vmid of vmids)
      sim.guests.update(vmid, (guest) => {
        guest.lock = 'backup';
      });
    const report = await passThrough((guests) => ({
      list: async (options) => {
        const listed = await guests.list(options);
        for (const vmid of vmids)
          sim.guests.update(vmid, (guest) => {
            delete guest.lock;
          });
        return listed;
      },
    }));
    expect(report).toMatchObject({ outcome: 'refused', refused: { would_stop: vmids } });
    expect(tasks()).toEqual([]);
  });

  it('a guest that a person took while the pass waited for its lock is left to that person', async () => {
    const { pass, sim, config, tasks } = await open({ guests: [stopped] });
    sim.guests.update(101, (guest) => {
      guest.lock = 'backup';
    });
    const waiting = pass({ lockTimeoutMs: 10_000 });
    const lane = join(lanesFolder(config.state), 'guest-101.lock');
    await until('the pass has come to the guest', () => existsSync(lane));
    const guests = await openGuestsState(guestsFile(config.state), () => []);
    await guests.set(101, { hold: { reason: 'migration', at: new Date().toISOString() } });
    sim.guests.update(101, (guest) => {
      delete guest.lock;
    });
    expect(await waiting).toMatchObject({ guests: [{ outcome: 'held', reason: 'migration', actions: [] }] });
    expect(tasks()).toEqual([]);
  });

  it('a pass that was asked to end does what it planned', async () => {
    const { pass, running } = await open({ guests: [stopped] });
    expect(await pass({ stop: AbortSignal.abort() })).toMatchObject({ guests: [{ outcome: 'applied' }] });
    expect(running(101)).toBe(true);
  });

  it('a pass that was asked to end waits for nobody', async () => {
    const { pass, sim } = await open({ guests: [stopped] });
    sim.guests.update(101, (guest) => {
      guest.lock = 'backup';
    });
    const stop = new AbortController();
    const waiting = pass({ lockTimeoutMs: 600_000, stop: stop.signal });
    stop.abort();
    expect(await waiting).toMatchObject({ guests: [{ outcome: 'deferred' }] });
  });
});

describe('an action that an earlier boot of the host left open', () => {
  it('is resolved at once: no call outlives its boot', async () => {
    const { open: openPorts, pass, tasks } = await open({ guests: [stopped], bounds: { lost_start: '10m' } });
    const { ports } = await openPorts();
    await ports.journal.begin({
      id: 'left',
      key: 'left',
      node_seconds: Math.floor(Date.now() / 1_000),
      node: 'pve1',
      vmid: 101,
      guest_kind: 'lxc',
      action: { kind: 'start' },
      by: 'reconcile',
      pid: 1,
      boot_id: 'another',
      known: [],
    });
    expect(await pass()).toMatchObject({
      recovered: [{ id: 'left', outcome: 'void' }],
      guests: [{ outcome: 'applied' }],
    });
    expect(tasks()).toEqual([ours]);
  });
});

describe('a backup whose gate is open', () => {
  it.each([
    ['of this boot holds its guest, though nobody lives who began it', true],
    ['of an earlier boot holds nothing', false],
  ])('%s', async (_, holds) => {
    const { config, open: openPorts, pass, running } = await open({ guests: [stopped] });
    const { ports } = await openPorts();
    const journal = await openJournal({
      path: journalPath(config.state),
      schema: jobRecord,
      keep: (records) => records,
      onFatal: (failure) => {
        throw failure;
      },
    });
    const opened_at = new Date().toISOString();
    const host_boot_id = holds ? ports.process.bootId : 'another';
    const job = newJob({ job_id: 'j1', vmid: 101, origin: 'controller', opened_at, host_boot_id, quiesce: true });
    await journal.append({ kind: 'opened', job: { ...job, phase: 'ready' } });
    await journal.close();
    const { guests } = await pass({ lockTimeoutMs: 100 });
    if (holds)
      expect(guests).toMatchObject([{ outcome: 'deferred', reason: expect.stringContaining('j1'), actions: [] }]);
    else expect(guests).toMatchObject([{ outcome: 'applied' }]);
    expect(running(101)).toBe(!holds);
  });
});
