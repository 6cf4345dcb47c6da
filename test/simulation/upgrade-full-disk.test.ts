import { describe, expect, it } from 'vitest';
import { recoverUpgradeUntilSettled, simulateUpgradeRecovery } from './upgrade-recovery.ts';
import { upgradeScenarios } from './upgrade-scenarios.ts';
import { makeUpgradeWorld, simulateUpgrade, type UpgradeScenario, type UpgradeWorld } from './upgrade-world.ts';

/*
 * State and data lie on one disk in most guests, and it may fill at any moment: nobody is left down because a debt that is
 * on the disk already cannot be written once more.
 */

const [healthy, ending] = upgradeScenarios as [UpgradeScenario, UpgradeScenario];
const app = 'shop-app-1';

/** It runs, is never healthy, and writes for as long as there is room. */
const filling: UpgradeScenario = {
  ...ending,
  images: {
    ...ending.images,
    'app:2': { id: 'sha256:v2-broken', schema: 2, behaviour: { healthyAfterMs: 10_000_000 } },
  },
};

/** Full from the moment in which the new version runs, until the room set aside is given back while nobody eats that too. */
function letItFill(world: UpgradeWorld): void {
  let isReserved = false;
  let room: 'enough' | 'none' | 'eaten' = 'enough';
  const isNewUp = (): boolean =>
    world.fake.running().includes(app) && world.fake.state(app)?.imageId === 'sha256:v2-broken';
  Object.defineProperty(world, 'diskFull', {
    get: () => {
      if (room === 'enough' && isReserved && isNewUp()) room = 'none';
      return room !== 'enough';
    },
  });
  Object.defineProperty(world, 'reserved', {
    get: () => isReserved,
    set: (value: boolean) => {
      if (isReserved && !value && room === 'none') room = isNewUp() ? 'eaten' : 'enough';
      isReserved = value;
    },
  });
}

describe('a new version that fills the disk of its data and of our state', () => {
  it('is stopped, and taken back with the room that was set aside for that', async () => {
    const world = makeUpgradeWorld(filling);
    letItFill(world);
    const { end } = await simulateUpgrade(world, null);
    expect(end).toMatchObject({ outcome: 'rolled_back', owed: [], recovered: true });
    expect(world.fake.state(app)).toMatchObject({ imageId: 'sha256:v1', status: 'running' });
    expect(world.volumes.get('data')).toEqual({ schema: 1, rows: ['written', 'before'] });
    expect([world.violations, world.debts.isEmpty()]).toEqual([[], true]);
  });
});

describe('a disk without room for the way back', () => {
  it('stops nothing, and neither a debt nor a part of the room is left', async () => {
    const world = makeUpgradeWorld(healthy);
    const starts = world.fake.starts(app);
    world.noRoom = true;
    await expect(simulateUpgrade(world, null)).rejects.toMatchObject({ code: 'no_space' });
    expect([world.reserved, world.debts.isEmpty(), world.lock.holder]).toEqual([false, true, null]);
    await recoverUpgradeUntilSettled(world);
    expect([world.fake.state(app)?.imageId, world.fake.starts(app)]).toEqual(['sha256:v1', starts]);
  });
});

describe('a disk that is full by the time of the recovery', () => {
  it.each(['setRestartPolicy', 'stop'])('keeps nothing down that an upgrade had stopped (%s)', async (effect) => {
    const world = makeUpgradeWorld(healthy);
    const { trace } = await simulateUpgrade(makeUpgradeWorld(healthy), null);
    await simulateUpgrade(world, { effect: trace.indexOf(`engine.${effect}`), when: 'after' });
    await world.clock.pass(30_000);
    world.diskFull = true;
    await simulateUpgradeRecovery(world);
    expect(world.fake.state(app)).toMatchObject({ imageId: 'sha256:v1', status: 'running' });
    expect(world.fake.state(app)?.restartPolicy).toBe('unless-stopped');
    world.diskFull = false;
    expect((await recoverUpgradeUntilSettled(world))?.outcome).toBe('settled');
    expect(world.debts.isEmpty()).toBe(true);
  });
});
