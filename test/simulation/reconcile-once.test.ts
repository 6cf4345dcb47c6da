import { Failure } from '@felhom/kernel/failure.ts';
import { PveError } from '@felhom/proxmox/errors.ts';
import { runPass } from 'felhom-agent/reconcile/pass.ts';
import type { ReconcilePorts } from 'felhom-agent/reconcile/ports.ts';
import type { PassReport } from 'felhom-agent/reconcile/report.ts';
import { expect, it } from 'vitest';
import { reconcileScenarios } from './reconcile-scenarios.ts';
import { livePorts, type ReconcileWorld, reconcileLimits, reconcileWorld } from './reconcile-world.ts';

const leftUpid = 'UPID:pve1:000003E8:00000000:6AFF9B90:vzstart:101:felhom@pve!agent:';

/** One pass over three guests, of which 101 has an entry whose task nobody can be asked about for so long. */
async function passBeside(
  silentMs: number,
  change: (ports: ReconcilePorts) => Partial<ReconcilePorts> = () => ({}),
): Promise<{ world: ReconcileWorld; passing: Promise<PassReport> }> {
  const [scenario] = reconcileScenarios;
  if (scenario === undefined) throw new Error('no scenario');
  const world = reconcileWorld(scenario);
  world.leaveOpen({ vmid: 101, kind: 'start', upid: leftUpid });
  const ports = livePorts(world);
  const { pve } = ports;
  const status: typeof pve.tasks.status = async (upid, options) => {
    if (upid === leftUpid && world.clock.monotonicMs() < silentMs)
      throw new PveError({ fault: { kind: 'transport', outcome: 'not-sent' }, call: 'GET status', text: 'no route' });
    return await pve.tasks.status(upid, options);
  };
  const passing = runPass(
    { ...ports, pve: { ...pve, tasks: { ...pve.tasks, status } }, ...change(ports) },
    {
      limits: reconcileLimits,
      vmids: null,
      allowStops: null,
      allowMemoryBelowUse: false,
      lockTimeoutMs: 120_000,
      stop: new AbortController().signal,
    },
  );
  return { world, passing };
}

it('what an earlier run left open at one guest holds up no other, and is resolved before anything is done to that one', async () => {
  const { world, passing } = await passBeside(60_000);
  await world.clock.pass(10_000);
  expect(world.node.effects.toSorted()).toEqual(['setConfig 103', 'shutdown 102']);
  expect(await world.clock.run(passing)).toMatchObject({
    outcome: 'applied',
    recovered: [{ id: 'left', vmid: 101, outcome: 'failed' }],
    guests: [{ vmid: 101, outcome: 'applied' }, { outcome: 'applied' }, { outcome: 'applied' }],
  });
  expect(world.node.effects.slice(2)).toEqual(['setConfig 101', 'start 101']);
});

it('what stays open is told, and nothing is done to its guest', async () => {
  const { world, passing } = await passBeside(600_000);
  const report = await world.clock.run(passing);
  expect(report).toMatchObject({
    recovered: [{ id: 'left', outcome: 'open' }],
    guests: [{ vmid: 101, outcome: 'deferred', actions: [] }, { outcome: 'applied' }, { outcome: 'applied' }],
  });
  expect(world.clock.monotonicMs()).toBeGreaterThanOrEqual(120_000);
  expect(world.node.effects.toSorted()).toEqual(['setConfig 103', 'shutdown 102']);
});

it('a journal that another process keeps locked while one guest is looked after ends no pass of the others', async () => {
  const locked = ({ journal }: ReconcilePorts): Partial<ReconcilePorts> => {
    let reads = 0;
    const entries: typeof journal.entries = async () => {
      reads += 1;
      // What is open is read twice before anything is planned.
      if (reads > 2) throw new Failure('busy', { message: 'actions.jsonl is locked', hint: 'Try again.' });
      return await journal.entries();
    };
    return { journal: { ...journal, entries } };
  };
  const { world, passing } = await passBeside(60_000, locked);
  expect(await world.clock.run(passing)).toMatchObject({
    guests: [
      { vmid: 101, outcome: 'deferred', reason: expect.stringContaining('actions.jsonl is locked') },
      { outcome: 'applied' },
      { outcome: 'applied' },
    ],
  });
});
