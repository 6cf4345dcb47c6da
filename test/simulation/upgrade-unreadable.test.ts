import { persistedMachine } from '@felhom/phases/persisted.ts';
import { defaultBounds } from 'felhom-controller/quiesce/bounds.ts';
import { type UpgradeDebt, upgradeDebt } from 'felhom-controller/upgrade/debt.ts';
import { type UpgradeNotes, upgradeNotes } from 'felhom-controller/upgrade/memory.ts';
import { type UpgradePhase, upgradeMachine } from 'felhom-controller/upgrade/phases.ts';
import { forgiveUnreadable, settleUnreadable } from 'felhom-controller/upgrade/settle-unreadable.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { type FakeEngine, fakeEngine } from './fake-engine.ts';
import { type MarkerPlace, markerPlace } from './memory-stores.ts';
import { type VirtualClock, virtualClock } from './virtual-clock.ts';

/* The debt of an upgrade, with both copies of it broken: what the phase machine and the engine still tell. */

const oldImage = `sha256:${'1'.repeat(64)}`;
const newImage = `sha256:${'2'.repeat(64)}`;
const walk: UpgradePhase[] = ['checking', 'staged', 'activated', 'verifying', 'rolled_back'];
const unreadable = { kind: 'unreadable', reason: 'it is truncated or not ours', mtimeMs: 0 } as const;
const newer = { kind: 'newer', version: 2 } as const;

let clock: VirtualClock;
let fake: FakeEngine;
let debts: MarkerPlace<UpgradeDebt>;
let machineText: string | null;

const machine = () =>
  persistedMachine({
    machine: upgradeMachine,
    success: ['success'],
    checked: ['verifying'],
    path: 'state.json',
    version: 1,
    data: upgradeNotes,
    clock,
    openFile: ({ schema }) => ({
      read: async () => {
        if (machineText === null) return { kind: 'absent' };
        const parsed = machineText === '' ? null : schema.safeParse(JSON.parse(machineText));
        return parsed?.success === true
          ? { kind: 'present', value: parsed.data }
          : { kind: 'unreadable', reason: 'it is truncated', mtimeMs: 0 };
      },
      write: async (value) => {
        machineText = JSON.stringify(value);
      },
      remove: async () => {
        machineText = null;
      },
    }),
  });

beforeEach(() => {
  clock = virtualClock();
  fake = fakeEngine(clock);
  debts = markerPlace(upgradeDebt);
  machineText = null;
  const shop = { project: 'shop', imageId: oldImage, restartPolicy: 'no' } as const;
  fake.add({ ...shop, name: 'shop-db-1', service: 'db', number: 1 });
  fake.add({ ...shop, name: 'shop-app-1', service: 'app', number: 1 });
  fake.add({ ...shop, name: 'shop-cron-1', service: 'cron', number: 1, status: 'exited' });
  debts.damage('unreadable');
});

/** The stack is stopped, and its upgrade stands at `phase`. */
async function cutOffAt(phase: UpgradePhase): Promise<void> {
  const changes: UpgradeNotes['changes'] = [
    { service: 'app', kind: 'image', from: `app:1 ${oldImage}`, to: `app:2 ${newImage}` },
  ];
  const notes: UpgradeNotes = {
    run_id: 'run-1',
    changes,
    gates: [],
    rungs: [],
    snapshot_id: null,
    not_rolled_back: [],
    downtime_ms: null,
    last_success_at: null,
    waits_for_person: false,
  };
  await clock.pass(60_000);
  await machine().begin('app:2', notes);
  for (const step of walk.slice(0, walk.indexOf(phase) + 1)) await machine().step(step);
  await clock.pass(1_000);
  for (const name of ['shop-app-1', 'shop-db-1']) fake.stopByHand(name);
  await clock.pass(20_000);
}

const settle = async (read: typeof unreadable | typeof newer = unreadable) =>
  await clock.run(
    settleUnreadable(
      { clock, engine: fake.engine, machine, debts: debts.open(), memory: { stacks: async () => ['shop'] } },
      { quiesce: defaultBounds },
      read,
      { inheritFds: [], warn: () => undefined },
    ),
  );

describe('the debt of an upgrade that nobody can read', () => {
  it('before activation: exactly what the upgrade stopped is started, the attempt has failed, nothing is owed', async () => {
    await cutOffAt('staged');
    const end = await settle();
    expect(end.started.toSorted()).toEqual(['shop-app-1', 'shop-db-1']);
    expect(end).toMatchObject({ owed: [], failure: { code: 'state_unreadable', exit: 3 } });
    expect(fake.running().toSorted()).toEqual(['shop-app-1', 'shop-db-1']);
    expect(fake.state('shop-cron-1')?.status).toBe('exited');
    expect(debts.isEmpty()).toBe(true);
    expect((await machine().read())?.phase).toBe('failed');
  });

  it('before activation, and what it stopped does not start: it stays owed, by name', async () => {
    await cutOffAt('staged');
    fake.behave('shop-db-1', { startFailures: 1_000 });
    const end = await settle();
    expect(end.owed).toMatchObject([{ stack: 'shop', container: 'shop-db-1' }]);
    expect(debts.isEmpty()).toBe(false);
  });

  it.each<UpgradePhase>(['activated', 'verifying'])(
    'at "%s": nothing is touched, 20, and what to type for either version',
    async (phase) => {
      await cutOffAt(phase);
      const end = await settle();
      expect(end.owed.map(({ container }) => container).toSorted()).toEqual(['shop-app-1', 'shop-db-1']);
      expect(end.failure).toMatchObject({ code: 'apps_down', exit: 20, message: expect.stringContaining('shop') });
      expect(end.failure?.hint).toContain('felhom-controller snapshot restore shop --files');
      expect(end.failure?.hint).toContain('felhom-controller recover --forgive shop');
      expect(fake.running()).toEqual([]);
      expect(debts.isEmpty()).toBe(false);
    },
  );

  it('that says "staged" beside a container of the new image is not believed: nothing is touched, 20', async () => {
    await cutOffAt('staged');
    fake.remove('shop-app-1');
    fake.add({ name: 'shop-app-1', project: 'shop', service: 'app', number: 1, imageId: newImage, status: 'created' });
    expect(await settle()).toMatchObject({ started: [], failure: { code: 'apps_down' } });
    expect(fake.running()).toEqual([]);
  });

  it("beside a phase that cannot be read either is a person's to decide", async () => {
    await cutOffAt('staged');
    machineText = '';
    expect(await settle()).toMatchObject({ started: [], failure: { code: 'apps_down' } });
    expect(fake.running()).toEqual([]);
  });

  it('of an attempt that has ended owes nothing', async () => {
    await cutOffAt('rolled_back');
    expect(await settle()).toMatchObject({ started: [], owed: [], failure: { code: 'state_unreadable' } });
    expect(debts.isEmpty()).toBe(true);
  });

  it('written by a newer version: the old containers are started, and it stays for that version', async () => {
    debts.damage('newer');
    await cutOffAt('staged');
    expect(await settle(newer)).toMatchObject({ owed: [], failure: { code: 'state_newer' } });
    expect(fake.running()).toHaveLength(2);
    expect(debts.isEmpty()).toBe(false);
  });

  it('can be given up by the name of the stack that it must belong to, and by no other', async () => {
    await cutOffAt('activated');
    const ports = { machine, debts: debts.open(), memory: { stacks: async () => ['shop'] } };
    expect(await forgiveUnreadable(ports, 'wiki')).toBe(false);
    expect(debts.isEmpty()).toBe(false);
    expect(await forgiveUnreadable(ports, 'shop')).toBe(true);
    expect(debts.isEmpty()).toBe(true);
    expect((await machine().read())?.phase).toBe('rolled_back');
    expect(fake.running()).toEqual([]);
  });
});
