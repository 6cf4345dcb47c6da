import { afterEach, describe, expect, it } from 'vitest';
import { openReconcileRig, type ReconcileRig, type ReconcileRigOptions } from './reconcile-rig.ts';
import { until } from './rig.ts';

/*
 * Proxmox VE takes a write and never answers: our own bound ends the call, and what became of it is looked for. Nothing
 * is asked for a second time before that is known.
 */

let rig: ReconcileRig;
const open = async (options: Omit<ReconcileRigOptions, 'bounds' | 'limits'>): Promise<ReconcileRig> => {
  rig = await openReconcileRig({
    ...options,
    bounds: { pve_call: '400ms', pve_busy: '0s', lost_start: '1s' },
    limits: { mutations: 6 },
  });
  return rig;
};
afterEach(async () => await rig.close());

const drifted = (vmid: number) => ({ vmid, running: true, desired: { cores: 4 } });
const stopped = (vmid: number) => ({ vmid, running: false, desired: { state: 'running' } });

describe('a write that is taken and never answered', () => {
  it('is found by what it did, and holds nobody else up', async () => {
    const { fault, pass, sim, running, tasks } = await open({
      guests: [drifted(101), stopped(102), drifted(103), stopped(104)],
    });
    await fault({ fault: 'hang_answer', method: 'PUT', path: '/lxc/101/config' });
    await fault({ fault: 'hang_answer', method: 'POST', path: '/lxc/102/status/start' });
    const report = await pass();
    expect(report).toMatchObject({
      outcome: 'applied',
      guests: [101, 102, 103, 104].map((vmid) => ({ vmid, outcome: 'applied', actions: [{ outcome: 'done' }] })),
    });
    expect([101, 103].map((vmid) => sim.guests.get(vmid)?.config['cores'])).toEqual([4, 4]);
    expect([102, 104].map(running)).toEqual([true, true]);
    expect(tasks().toSorted()).toEqual(['vzstart 102 felhom@pve!agent', 'vzstart 104 felhom@pve!agent']);
  });

  it('without an effect is made again, but only once it is certain that none comes', async () => {
    const { fault, pass, sim, tasks } = await open({ guests: [drifted(101), stopped(102)] });
    await fault({ fault: 'hang', method: 'PUT', path: '/lxc/101/config' });
    await fault({ fault: 'hang', method: 'POST', path: '/lxc/102/status/start' });
    expect(await pass()).toMatchObject({
      outcome: 'applied',
      guests: [
        { actions: [{ outcome: 'void' }, { outcome: 'done' }] },
        { actions: [{ outcome: 'void' }, { outcome: 'done' }] },
      ],
    });
    expect(sim.guests.get(101)?.config['cores']).toBe(4);
    expect(tasks()).toEqual(['vzstart 102 felhom@pve!agent']);
    const entries = await (await rig.open()).ports.journal.entries();
    for (const vmid of [101, 102]) {
      const [first, second] = entries.filter(({ intent }) => intent.vmid === vmid).map(({ intent }) => intent.boot_ms);
      expect((second ?? 0) - (first ?? 0)).toBeGreaterThanOrEqual(1_000);
    }
  });

  it('that takes effect after we gave the call up is still found, and nothing is done beside it', async () => {
    const { fault, pass, sim, tasks } = await open({ guests: [drifted(101), stopped(102)] });
    await fault({ fault: 'slow', method: 'PUT', path: '/lxc/101/config', ms: 700 });
    await fault({ fault: 'slow', method: 'POST', path: '/lxc/102/status/start', ms: 700 });
    expect(await pass()).toMatchObject({
      outcome: 'applied',
      guests: [{ actions: [{ outcome: 'done' }] }, { actions: [{ outcome: 'done' }] }],
    });
    expect(sim.guests.get(101)?.config['cores']).toBe(4);
    expect(tasks()).toEqual(['vzstart 102 felhom@pve!agent']);
  });

  it('does not keep a pass that is asked to end: what became of it is for the next one to find out', async () => {
    const { fault, pass, sim, tasks } = await open({ guests: [stopped(101)] });
    rig.config.bounds.stop_grace = 100;
    await fault({ fault: 'hang_answer', method: 'POST', path: '/lxc/101/status/start' });
    const stop = new AbortController();
    const passing = pass({ stop: stop.signal });
    await until('the task is there', () => tasks().length === 1);
    await fault({ fault: 'hang', method: 'GET', path: '/tasks', times: 0 });
    stop.abort();
    expect(await passing).toMatchObject({ guests: [{ outcome: 'deferred', actions: [{ outcome: null }] }] });
    sim.faults.clear();
    expect(await pass()).toMatchObject({ recovered: [{ outcome: 'done' }], guests: [{ outcome: 'in_sync' }] });
    expect(tasks()).toHaveLength(1);
  });
});
