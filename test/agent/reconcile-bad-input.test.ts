import { afterEach, describe, expect, it } from 'vitest';
import { openReconcileRig, type ReconcileRig } from './reconcile-rig.ts';

let rig: ReconcileRig;
afterEach(async () => await rig.close());

/** Three guests with the same drift; what goes wrong is ordered for one of them. */
const three = async (bounds: Record<string, string> = {}): Promise<ReconcileRig> => {
  rig = await openReconcileRig({
    guests: [101, 102, 103].map((vmid) => ({ vmid, running: false, desired: { state: 'running', cores: 4 } })),
    bounds: { pve_call: '300ms', ...bounds },
  });
  return rig;
};

describe('one guest that cannot be read', () => {
  it.each([
    [
      '403',
      { fault: 'refuse', status: 403, text: 'Permission check failed (/vms/102, VM.Audit)' },
      'Permission check failed',
    ],
    ['500', { fault: 'refuse', status: 500, text: 'something broke' }, 'something broke'],
    ['596', { fault: 'refuse', status: 596, text: 'Broken pipe' }, 'Broken pipe'],
    ['HTML', { fault: 'html', status: 502 }, '502'],
    ['half a document', { fault: 'truncated_json' }, 'not JSON'],
    ['a surprise in the schema', { fault: 'lie', data: { pending: 'yes' } }, 'another shape'],
    ['no answer at all', { fault: 'hang' }, 'no answer within'],
  ])('with %s: its run state is looked after, why is told, and the others converge', async (_, order, why) => {
    const { fault, pass, running, sim } = await three();
    await fault({ ...order, path: '/lxc/102/pending', times: 0 });
    const report = await pass();
    expect(report).toMatchObject({
      outcome: 'failed',
      guests: [
        { outcome: 'applied' },
        { vmid: 102, outcome: 'failed', reason: expect.stringContaining(why) },
        { outcome: 'applied' },
      ],
    });
    expect([101, 102, 103].map(running)).toEqual([true, true, true]);
    expect([101, 102, 103].map((vmid) => sim.guests.get(vmid)?.config['cores'])).toEqual([4, 2, 4]);
  });
});

describe('one guest that cannot be changed', () => {
  it.each([
    [
      '403',
      { fault: 'refuse', status: 403, text: 'Permission check failed (/vms/102, VM.Config.CPU)' },
      'VM.Config.CPU',
    ],
    ['400', { fault: 'refuse', status: 400, text: 'Parameter verification failed.' }, 'Parameter verification failed'],
    ['595', { fault: 'refuse', status: 595, text: 'Connection refused' }, 'Connection refused'],
    ['500', { fault: 'refuse', status: 500, text: 'hotplug problem' }, 'hotplug problem'],
  ])('by %s: it failed with the reason and what to type, and the others converge', async (_, order, why) => {
    const { fault, pass, sim } = await three();
    await fault({ ...order, method: 'PUT', path: '/lxc/102/config', times: 0 });
    expect(await pass()).toMatchObject({
      outcome: 'failed',
      counts: { applied: 2, failed: 1 },
      guests: [
        { outcome: 'applied' },
        { vmid: 102, outcome: 'failed', reason: expect.stringContaining(why), hint: expect.stringMatching(/\w/) },
        { outcome: 'applied' },
      ],
    });
    expect(sim.guests.get(102)?.config['cores']).toBe(2);
  });

  it('whose start fails is told, and its entry is closed', async () => {
    rig = await openReconcileRig({
      guests: [
        { vmid: 101, running: false, desired: { state: 'running' }, commands: { start: 'exit 3' } },
        { vmid: 102, running: false, desired: { state: 'running' } },
      ],
    });
    expect(await rig.pass()).toMatchObject({
      outcome: 'failed',
      guests: [{ outcome: 'failed', actions: [{ outcome: 'failed' }] }, { outcome: 'applied' }],
    });
    const entries = await (await rig.open()).ports.journal.entries();
    expect(entries.every(({ end }) => end !== null)).toBe(true);
  });
});

describe('a node that cannot be asked', () => {
  it.each([
    ['401', { fault: 'unauthorized' }, 'unauthorized'],
    ['403', { fault: 'refuse', status: 403, text: 'Permission check failed' }, 'refused'],
    ['595', { fault: 'daemon_down' }, 'pve_unreachable'],
    ['500', { fault: 'refuse', status: 500, text: 'no' }, 'operation_failed'],
    ['HTML', { fault: 'html' }, 'pve_unreachable'],
    ['nothing', { fault: 'hang' }, 'pve_unreachable'],
  ])('because of %s: the pass says so, and nothing was begun', async (_, order, code) => {
    const { fault, pass, tasks, sim } = await three();
    await fault({ ...order, path: '/nodes/pve1', times: 0 });
    await expect(pass()).rejects.toMatchObject({ code });
    sim.faults.clear();
    expect(tasks()).toEqual([]);
    expect(await (await rig.open()).ports.journal.entries()).toEqual([]);
  });

  it('about its cluster: the guests that are here converge all the same', async () => {
    const { fault, pass, declare } = await three();
    await declare(150, { state: 'running' });
    await fault({ fault: 'html', path: '/cluster/resources', times: 0 });
    expect(await pass()).toMatchObject({ counts: { applied: 3, elsewhere: 1 } });
  });
});
