import { Failure } from '@felhom/kernel/failure.ts';
import type { ActivateEnd } from 'felhom-controller/upgrade/activate.ts';
import { rollBackByHand } from 'felhom-controller/upgrade/by-hand.ts';
import type { DataPort } from 'felhom-controller/upgrade/ports.ts';
import { describe, expect, it } from 'vitest';
import type { CrashPoint } from './doom.ts';
import { recoverUpgradeUntilSettled, simulateUpgradeRecovery } from './upgrade-recovery.ts';
import { upgradeScenarios } from './upgrade-scenarios.ts';
import {
  type Lived,
  live,
  makeUpgradeWorld,
  simulateUpgrade,
  stack,
  type UpgradeScenario,
  type UpgradeWorld,
} from './upgrade-world.ts';

/*
 * A person takes back an upgrade that was kept. Its data has lived on since: it is to be found in a snapshot afterwards,
 * whatever dies, or it is where it was, under the new version.
 */

const [healthy] = upgradeScenarios as [UpgradeScenario];
const app = 'shop-app-1';
const since = { schema: 2, rows: ['written', 'before', 'since'] };

/** Upgraded, healthy, and in use since. */
async function livedOn(): Promise<UpgradeWorld> {
  const world = makeUpgradeWorld(healthy);
  await simulateUpgrade(world, null);
  world.volumes.get('data')?.rows.push('since');
  return world;
}

async function takeBack(
  world: UpgradeWorld,
  point: CrashPoint | null = null,
  { discard = false, data = {} }: { discard?: boolean; data?: Partial<DataPort> } = {},
): Promise<Lived<ActivateEnd & { sinceId: string | null }>> {
  const request = { discard, stop: new AbortController().signal, warn: () => undefined };
  return await live(world, point, async (ports) =>
    rollBackByHand({ ...ports, data: { ...ports.data, ...data } }, world.settings, stack, request),
  );
}

const imageOf = (world: UpgradeWorld): string => world.fake.state(app)?.imageId ?? 'gone';
const keptSince = (world: UpgradeWorld): string[] =>
  [...world.snapshots].filter(([, volumes]) => volumes.get('data')?.rows.includes('since')).map(([id]) => id);

/** Everything that does not hold in the end, in words. */
async function broken(world: UpgradeWorld): Promise<string[]> {
  await world.clock.pass(120_000);
  const found = [...world.violations];
  const state = world.fake.state(app);
  if (state?.status !== 'running') found.push(`it is ${state?.status ?? 'gone'}`);
  if (state?.restartPolicy !== 'unless-stopped') found.push(`its restart policy is ${state?.restartPolicy}`);
  const isNew = state?.imageId === 'sha256:v2';
  const expected = isNew ? since : { schema: 1, rows: ['written', 'before'] };
  if (JSON.stringify(world.volumes.get('data')) !== JSON.stringify(expected))
    found.push(`${imageOf(world)} has ${JSON.stringify(world.volumes.get('data'))}`);
  if (!isNew && keptSince(world).length === 0) found.push('what was written since is lost');
  if (world.goodSnapshot !== 'snapshot-1') found.push(`the last good snapshot is ${world.goodSnapshot}`);
  if (!isNew && world.lastGood?.previous !== null) found.push('it could be taken back once more');
  if (!world.debts.isEmpty()) found.push('a debt remains');
  if ((await simulateUpgradeRecovery(world)).end?.outcome !== 'nothing')
    found.push('a second recovery found something');
  return found;
}

describe('an upgrade that a person takes back', () => {
  it('leaves what was written since as a snapshot, and the last good one where it was', async () => {
    const world = await livedOn();
    const { end } = await takeBack(world);
    expect(end).toMatchObject({ outcome: 'rolled_back', recovered: true, sinceId: 'snapshot-2' });
    expect(keptSince(world)).toEqual(['snapshot-2']);
    expect(await broken(world)).toEqual([]);
  });

  it('whatever dies, and whatever dies in the recovery: nothing that was written is lost', async () => {
    const { trace } = await takeBack(await livedOn());
    const found: string[] = [];
    for (let effect = 0; effect < trace.length; effect += 1)
      for (const when of ['before', 'after'] as const) {
        const recoveryEffects = await schedule({ effect, when }, null, found);
        for (let again = effect % 7; again < recoveryEffects; again += 7)
          await schedule({ effect, when }, { effect: again, when }, found);
      }
    expect(found.slice(0, 5)).toEqual([]);
  });

  async function schedule(crash: CrashPoint, again: CrashPoint | null, found: string[]): Promise<number> {
    const world = await livedOn();
    const { trace } = await takeBack(world, crash);
    const recovery = await simulateUpgradeRecovery(world, again);
    await recoverUpgradeUntilSettled(world);
    const where = `crash ${JSON.stringify(crash)} ${trace.at(-1)}, in recovery ${JSON.stringify(again)}`;
    found.push(...(await broken(world)).map((each) => `${where}: ${each}`));
    return recovery.trace.length;
  }

  it('cannot be taken back twice, also where a recovery did it', async () => {
    const world = await livedOn();
    const { trace } = await takeBack(await livedOn());
    await takeBack(world, { effect: trace.indexOf('engine.remove'), when: 'after' });
    await recoverUpgradeUntilSettled(world);
    expect([imageOf(world), keptSince(world)]).toEqual(['sha256:v1', ['snapshot-2']]);
    await expect(takeBack(world)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('is not even stopped where there is no room for what was written since, but is where that is given up', async () => {
    const world = await livedOn();
    const starts = world.fake.starts(app);
    const full: Partial<DataPort> = {
      plan: async () => ({ ...nothing, neededBytes: 2_000_000, freeBytes: 1_000_000 }),
    };
    await expect(takeBack(world, null, { data: full })).rejects.toMatchObject({
      code: 'no_space',
      message: expect.stringContaining('nothing was stopped'),
      hint: expect.stringContaining('--discard'),
    });
    expect([imageOf(world), world.fake.starts(app), world.debts.isEmpty()]).toEqual(['sha256:v2', starts, true]);
    const { end } = await takeBack(world, null, { data: full, discard: true });
    expect(end).toMatchObject({ outcome: 'rolled_back', sinceId: null });
    expect(keptSince(world)).toEqual([]);
  });

  it('is not even stopped where its data cannot be kept', async () => {
    const obstacles = [{ what: 'nfs', why: 'it is not on this machine' }];
    const data = { plan: async () => ({ ...nothing, obstacles }) };
    await expect(takeBack(await livedOn(), null, { data })).rejects.toMatchObject({ code: 'snapshot_impossible' });
  });

  it('runs on with what was written since where that turns out not to be kept after all', async () => {
    const world = await livedOn();
    const keep = async (): Promise<never> => {
      throw new Failure('operation_failed', { message: 'the disk gave an error', hint: 'dmesg' });
    };
    const { end } = await takeBack(world, null, { data: { prepare: async () => ({ keep }) } });
    expect(end).toMatchObject({ outcome: 'kept', failure: { code: 'not_rolled_back' }, sinceId: null });
    expect(imageOf(world)).toBe('sha256:v2');
    expect(await broken(world)).toEqual([]);
  });
});

const nothing = {
  moved: { left: [], found: [] },
  folders: [],
  leftOut: [],
  shared: [],
  obstacles: [],
  neededBytes: 0,
  restoreBytes: 0,
  freeBytes: 2 ** 40,
};
