import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openPlanning, type Planning } from './planning.ts';

type Order = Parameters<Planning['sim']['faults']['order']>[0];
const at = { method: 'GET', path: '/lxc/101/pending', times: 0 } as const;

let host: Planning;
beforeAll(async () => {
  host = await openPlanning([
    { vmid: 101, running: false },
    { vmid: 102, running: false },
  ]);
  for (const vmid of [101, 102])
    await host.declare(`${vmid}.yaml`, { vmid, desired: { state: 'running', cores: 4, memory: '2GiB' } });
});
afterEach(() => host.sim.faults.clear());
afterAll(() => host.close());

describe('a node that answers one configuration wrongly', () => {
  it.each<[string, Order, RegExp]>([
    ['with an error', { ...at, fault: 'refuse', status: 500, text: 'got timeout' }, /got timeout/],
    [
      'with a refusal',
      { ...at, fault: 'refuse', status: 403, text: 'Permission check failed' },
      /Permission check failed/,
    ],
    ['without its daemon', { ...at, fault: 'refuse', status: 595, text: 'Connection refused' }, /Connection refused/],
    ["with a gateway's page", { ...at, fault: 'html' }, /./],
    ['with half a document', { ...at, fault: 'truncated_json' }, /./],
    ['with nothing of what it should', { ...at, fault: 'lie', data: [{ key: 'cores', value: 4 }] }, /digest/],
    ['in another shape', { ...at, fault: 'lie', data: { cores: 'four' } }, /./],
  ])('%s: that guest is planned by its run state alone, the other as a whole', async (_, order, why) => {
    host.sim.faults.order(order);
    const { json, exit } = await host.run('plan', '--json');
    expect(exit).toBe(0);
    expect(json['guests']).toMatchObject([
      {
        vmid: 101,
        standing: 'drift',
        reason: expect.stringMatching(why),
        actions: [{ kind: 'start' }],
      },
      { vmid: 102, standing: 'drift', reason: null, actions: [{ kind: 'configure' }, { kind: 'start' }] },
    ]);
  });

  it('says what is wrong where nothing at all can be asked', async () => {
    host.sim.faults.order({ fault: 'unauthorized', path: '/nodes', times: 0 });
    const told = await host.run('plan');
    expect(told).toMatchObject({ exit: 12, stdout: '' });
    expect(told.stderr).toContain('pveum user token list');
    expect(told.stderr).toContain('guests stay as they are');
  });
});

describe('plan of a guest of which nothing is declared', () => {
  it('is an error, not "all is well"', async () => {
    const told = await host.run('plan', '999');
    expect(told.exit).toBe(12);
    expect(told.stderr).toContain('nothing is declared of guest 999');
  });
});
