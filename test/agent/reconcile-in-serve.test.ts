import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { openRig, type Rig, until } from './rig.ts';

let rig: Rig;
afterEach(async () => await rig.close());

const desired = { desired: { state: 'running', cores: 4 } };
const quick = { lock_poll: '20ms', task_poll: '30ms' };

it('serve keeps its guests as declared, tells so in its metrics, and ends without waiting for the next pass', async () => {
  rig = await openRig({
    guest: desired,
    guestSpec: { running: false },
    agent: { reconcile: { interval: '1h' } },
    bounds: quick,
  });
  const { sim } = rig;
  await until('the guest runs', () => sim.guests.get(101)?.running === true);
  await until('the pass is over', () => rig.agent.reconcile?.last() !== null);
  expect(sim.guests.get(101)?.config['cores']).toBe(4);
  expect(rig.agent.app.metrics()).toContain('felhom_reconcile_guests{outcome="applied"} 1');
  const began = performance.now();
  await rig.restart();
  expect(performance.now() - began).toBeLessThan(20_000);
  const record = JSON.parse(await readFile(join(rig.folder, 'state/reconcile.json'), 'utf8')) as unknown;
  expect(record).toMatchObject({ value: { outcome: 'applied', declared: 1 } });
});

it('serve leaves a guest alone while its backup is under way, and brings it back to what is declared after it', async () => {
  rig = await openRig({
    gate: 'log',
    guest: { desired: { cores: 2 } },
    agent: { reconcile: { interval: '200ms' } },
    bounds: { ...quick, storage_cache: '0s' },
  });
  const { sim, agent } = rig;
  await until('a pass found it in order', () => agent.reconcile?.last()?.outcome === 'in_sync');
  await rig.fault({ fault: 'slow_archive', vmid: 101, ms: 1_500 });
  await agent.app.service.startForOperator(101, { quiesce: false });
  await until('vzdump is at work', () => sim.guests.get(101)?.lock === 'backup');
  // Somebody changes it behind PVE's own lock, as a root shell can.
  sim.guests.update(101, (guest) => {
    guest.config['cores'] = 1;
  });
  await until('reconcile saw it and waits', () => agent.reconcile?.last()?.outcome === 'incomplete');
  expect(agent.reconcile?.last()?.guests).toMatchObject([{ outcome: 'deferred', actions: [] }]);
  expect(sim.guests.get(101)?.config['cores']).toBe(1);
  await until('it is as declared again', () => sim.guests.get(101)?.config['cores'] === 2);
  expect(agent.app.jobs.all().at(-1)?.phase).toBe('done');
});

it('where reconcile is off, serve changes no guest', async () => {
  rig = await openRig({ guest: desired, guestSpec: { running: false } });
  expect(rig.agent.reconcile).toBeNull();
  expect(rig.sim.tasks.list()).toEqual([]);
});
