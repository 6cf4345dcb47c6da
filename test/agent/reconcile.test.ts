import { afterEach, describe, expect, it } from 'vitest';
import { openReconcileRig, type ReconcileRig, type ReconcileRigOptions } from './reconcile-rig.ts';

let rig: ReconcileRig;
const open = async (options: ReconcileRigOptions): Promise<ReconcileRig> => {
  rig = await openReconcileRig(options);
  return rig;
};
afterEach(async () => await rig.close());

describe('a pass', () => {
  it('starts what is declared running, sets what differs, and finds nothing to do the next time', async () => {
    const { pass, sim, tasks, running } = await open({
      guests: [
        { vmid: 101, running: false, desired: { state: 'running', cores: 4 } },
        { vmid: 102, desired: { cores: 2 } },
        { vmid: 103 },
      ],
    });
    const report = await pass();
    expect(report).toMatchObject({
      outcome: 'applied',
      counts: { declared: 2, planned: 1, applied: 1, in_sync: 1, failed: 0, deferred: 0 },
      guests: [
        {
          vmid: 101,
          outcome: 'applied',
          actions: [
            { action: 'cores 2 -> 4', outcome: 'done' },
            { action: 'start', outcome: 'done' },
          ],
        },
        { vmid: 102, outcome: 'in_sync', actions: [] },
      ],
    });
    expect(running(101)).toBe(true);
    expect(sim.guests.get(101)?.config['cores']).toBe(4);
    expect(await pass()).toMatchObject({ outcome: 'in_sync', planned: [], counts: { in_sync: 2 } });
    expect(tasks()).toEqual(['vzstart 101 felhom@pve!agent']);
  });

  it('with nothing declared asks nothing and does nothing', async () => {
    const { pass, fault } = await open({ guests: [{ vmid: 101 }] });
    await fault({ fault: 'refuse', times: 0 });
    expect(await pass()).toMatchObject({ outcome: 'in_sync', counts: { declared: 0 }, guests: [] });
  });

  it('shuts down what is declared stopped, hard only what does not listen', async () => {
    const { pass, tasks, running, fault } = await open({
      guests: [
        { vmid: 101, desired: { state: 'stopped' } },
        { vmid: 102, kind: 'qemu', desired: { state: 'running' } },
        { vmid: 103, desired: {} },
      ],
      bounds: { shutdown: '1s' },
    });
    await fault({ fault: 'ignore_shutdown', vmid: 101 });
    expect(await pass()).toMatchObject({
      guests: [{ vmid: 101, outcome: 'applied', actions: [{ action: 'shut down', outcome: 'done' }] }, {}, {}],
    });
    expect([running(101), running(102), running(103)]).toEqual([false, true, true]);
    expect(tasks()).toEqual(['vzshutdown 101 felhom@pve!agent']);
  });

  it('asked for a guest of which nothing is declared, it says so and does nothing', async () => {
    const { pass, tasks } = await open({ guests: [{ vmid: 101, running: false, desired: { state: 'running' } }] });
    await expect(pass({ vmids: [101, 999] })).rejects.toMatchObject({ code: 'unknown_guest' });
    expect(tasks()).toEqual([]);
  });

  it('stops nobody when the plan would stop too many, and does so when told', async () => {
    const { pass, running } = await open({
      guests: [101, 102, 103].map((vmid) => ({ vmid, desired: { state: 'stopped' } })),
    });
    expect(await pass()).toMatchObject({ outcome: 'refused', refused: { would_stop: [101, 102, 103] } });
    expect([101, 102, 103].map(running)).toEqual([true, true, true]);
    expect(await pass({ allowStops: 3 })).toMatchObject({ outcome: 'applied' });
    expect([101, 102, 103].map(running)).toEqual([false, false, false]);
  });

  it('over some guests leaves the others alone, and the record of the last whole pass; of one nobody declared it says so', async () => {
    const {
      pass,
      running,
      open: openPorts,
    } = await open({
      guests: [101, 102].map((vmid) => ({ vmid, running: false, desired: { state: 'running' } })),
    });
    expect(await pass({ vmids: [102] })).toMatchObject({ counts: { declared: 1, applied: 1 } });
    expect([running(101), running(102)]).toEqual([false, true]);
    expect(await (await openPorts()).ports.memory.read()).toBeNull();
    await expect(pass({ vmids: [150] })).rejects.toMatchObject({ code: 'unknown_guest' });
  });
});
