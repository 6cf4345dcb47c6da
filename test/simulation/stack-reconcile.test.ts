import type { OtherDebt } from 'felhom-controller/quiesce/other-debts.ts';
import type { Memory } from 'felhom-controller/stacks/memory.ts';
import { type ReconcileEnd, reconcileStacks } from 'felhom-controller/stacks/reconcile.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { makeWorld, newProcess, type Scenario, simulateBackup, type World } from './controller-world.ts';

/*
 * A pass of reconcile over the guest of the crash simulation: what it starts, and that it never meets a backup.
 */

const shop: Scenario = {
  name: 'a shop',
  containers: () => [
    { name: 'shop-db-1', project: 'shop', service: 'db', restartPolicy: 'no' },
    {
      name: 'shop-app-1',
      project: 'shop',
      service: 'app',
      restartPolicy: 'no',
      dependencies: [{ service: 'db', condition: 'service_started', restart: false }],
    },
    { name: 'shop-migrate-1', project: 'shop', service: 'migrate', restartPolicy: 'no', status: 'exited', exitCode: 0 },
  ],
};

const nothingPaid = { started: [], owed: [], failure: null };
let world: World;
let memory: Memory | null;
beforeEach(() => {
  world = makeWorld(shop);
  memory = null;
});

async function pass(holds: [string, string][] = [], owed: OtherDebt | null = null): Promise<ReconcileEnd> {
  const unpaid = {
    owed: async () => owed,
    settle: async () => nothingPaid,
    sweep: async () => undefined,
    forgive: async () => false,
  };
  const ports = {
    ...newProcess(world, null).ports,
    otherDebts: [unpaid],
    holds: async () => new Map(holds),
    boot: async () => world.shutdown.bootId,
    memory: {
      read: async () => memory,
      write: async (seen: Memory) => {
        memory = seen;
      },
    },
    units: {
      look: async () => null,
      read: async () => '',
      write: async () => undefined,
      start: async () => undefined,
    },
  };
  const declared = [{ name: 'shop', services: null, companions: [] }];
  return await world.clock.run(reconcileStacks(ports, { declared, bounds: world.bounds, stop: world.stop.signal }));
}

describe('a guest whose engine was restarted', () => {
  beforeEach(() => {
    world.fake.goDown();
    world.fake.comeUp();
    expect(world.fake.running()).toEqual([]);
  });

  it('has what should run started, its dependencies first, and its finished migration left finished', async () => {
    const end = await pass();
    expect(end).toMatchObject({ outcome: 'done', exit: 0 });
    expect(end.stacks[0]).toMatchObject({ outcome: 'started', started: ['shop-db-1', 'shop-app-1'] });
    expect(world.fake.running().toSorted()).toEqual(['shop-app-1', 'shop-db-1']);
    expect(world.fake.starts('shop-migrate-1')).toBe(0);
  });

  it('needs nothing the second time', async () => {
    await pass();
    const starts = world.fake.starts('shop-db-1');
    expect((await pass()).stacks[0]).toMatchObject({ outcome: 'runs', started: [] });
    expect(world.fake.starts('shop-db-1')).toBe(starts);
  });

  it('keeps what a person holds as it is', async () => {
    expect((await pass([['shop', 'moving its data']])).stacks[0]).toMatchObject({
      outcome: 'left_alone',
      why: 'it is held: moving its data',
    });
    expect(world.fake.running()).toEqual([]);
  });

  it.each([
    ['an upgrade or a restore of it has not come to its end', 'shop'],
    ['what was cut off cannot be read: it may be this stack', null],
  ])('is left alone where %s', async (_name, stack) => {
    const end = await pass([], { stack, deadlineMs: 0, engineId: null });
    expect(end.stacks[0]).toMatchObject({
      outcome: 'left_alone',
      why: expect.stringMatching(/an upgrade or a restore/),
    });
    expect(world.fake.running()).toEqual([]);
  });

  it('starts what is declared where it is another stack that is between two versions', async () => {
    await pass([], { stack: 'wiki', deadlineMs: 0, engineId: null });
    expect(world.fake.running().toSorted()).toEqual(['shop-app-1', 'shop-db-1']);
  });

  it('says loudly what does not start, and does not wait for it', async () => {
    world.fake.behave('shop-app-1', { startFailures: 5 });
    const end = await pass();
    expect(end).toMatchObject({ exit: 20, failure: { code: 'apps_down' } });
    expect(world.fake.running()).toEqual(['shop-db-1']);
  });

  it('touches nothing while a run is under way', async () => {
    const holder = { pid: 1, startTime: '1', what: 'backup', runId: 'r', deadlineMs: null } as const;
    world.lock.holder = holder;
    expect(await pass()).toMatchObject({ outcome: 'busy', exit: 11, stacks: [] });
    expect(world.fake.running()).toEqual([]);
  });
});

describe('an app that ends well when it is told to, under the restart policy no', () => {
  const isUp = (): boolean => world.fake.running().includes('shop-app-1');
  const reboot = (): void => {
    world.fake.goDown();
    world.shutdown.bootId = `after ${world.shutdown.bootId}`;
    world.fake.comeUp();
  };
  const endWell = (): void => {
    const state = world.fake.state('shop-app-1');
    if (state !== null) state.exitCode = 0;
  };

  it('is started again after a boot, until it runs', async () => {
    await pass();
    reboot();
    endWell();
    world.fake.behave('shop-app-1', { startFailures: 1 });
    expect((await pass()).exit).toBe(20);
    expect((await pass()).stacks[0]).toMatchObject({ started: ['shop-app-1'] });
    expect(isUp()).toBe(true);
  });

  it('stays off when it ended within this boot: it has finished', async () => {
    await pass();
    world.fake.stopByHand('shop-app-1');
    await world.clock.run(world.clock.sleep(20_000));
    endWell();
    expect((await pass()).stacks[0]).toMatchObject({
      outcome: 'runs',
      left_off: expect.arrayContaining([{ container: 'shop-app-1', why: 'it has finished' }]),
    });
    reboot();
    endWell();
    await pass();
    expect(isUp()).toBe(false);
  });
});

it('pays first what a dead backup owes', async () => {
  const { trace } = await simulateBackup(makeWorld(shop), null);
  await simulateBackup(world, { effect: trace.indexOf('agent.quiesced'), when: 'before' });
  expect(world.fake.running()).toEqual([]);
  const end = await pass();
  expect(end.recovered).toMatchObject({ outcome: 'settled', started: expect.arrayContaining(['shop-db-1']) });
  expect(end.stacks[0]).toMatchObject({ outcome: 'runs' });
  expect(world.fake.running().toSorted()).toEqual(['shop-app-1', 'shop-db-1']);
});
