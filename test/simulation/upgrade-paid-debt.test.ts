import { Interruption } from '@felhom/cli/signals.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { describe, expect, it } from 'vitest';
import { recoverUpgradeUntilSettled } from './upgrade-recovery.ts';
import { upgradeScenarios } from './upgrade-scenarios.ts';
import { makeUpgradeWorld, simulateUpgrade, type UpgradeScenario, type UpgradeWorld } from './upgrade-world.ts';

/*
 * A disk that takes no more the moment an upgrade has come to its end: what is paid already and cannot be erased is
 * looked at once more by recovery, which changes nothing.
 */

const [healthy, ending] = upgradeScenarios as [UpgradeScenario, UpgradeScenario];
const app = 'shop-app-1';

function phaseOf({ machineText }: UpgradeWorld): string {
  return machineText === null ? '' : JSON.parse(machineText).phase;
}

/** From this phase on nothing can be written or removed, until what it answers is called. */
function breakAt(world: UpgradeWorld, phase: string): () => void {
  let isBroken = true;
  Object.defineProperty(world, 'diskFull', { get: () => isBroken && phaseOf(world) === phase });
  return () => {
    isBroken = false;
  };
}

async function settleLater(world: UpgradeWorld, mend: () => void): Promise<void> {
  const life = (): unknown[] => [world.fake.state(app)?.id, world.fake.starts(app)];
  const before = life();
  mend();
  await world.clock.pass(60_000);
  expect((await recoverUpgradeUntilSettled(world))?.outcome).toBe('settled');
  expect(world.debts.isEmpty()).toBe(true);
  // The same container, in the same life.
  expect(life()).toEqual(before);
}

describe('an upgrade whose debt cannot be erased in the end', () => {
  it('keeps its healthy new version, with what that has written', async () => {
    const world = makeUpgradeWorld(healthy);
    const mend = breakAt(world, 'success');
    const { end } = await simulateUpgrade(world, null);
    expect(end).toMatchObject({ outcome: 'success', owed: [], failure: null });
    expect(world.debts.isEmpty()).toBe(false);
    world.volumes.get('data')?.rows.push('written by the new version');
    await settleLater(world, mend);
    expect(world.fake.state(app)).toMatchObject({ imageId: 'sha256:v2', status: 'running' });
    expect(world.volumes.get('data')?.rows).toContain('written by the new version');
  });

  it('keeps it also where the erase alone fails, and a rollback could be written', async () => {
    const world = makeUpgradeWorld(healthy);
    const { open } = world.debts;
    let failures = 1;
    world.debts.open = () => {
      const store = open();
      const erase = async (): Promise<void> => {
        failures -= 1;
        if (failures < 0) return await store.erase();
        throw new Failure('state_unwritable', { message: 'input/output error', hint: 'dmesg' });
      };
      return { ...store, erase };
    };
    const { end } = await simulateUpgrade(world, null);
    expect(end).toMatchObject({ outcome: 'success', failure: null });
    expect(world.fake.state(app)).toMatchObject({ imageId: 'sha256:v2', status: 'running' });
    await settleLater(world, () => undefined);
  });

  it('is not called down where it was given up before anything of the new version was there', async () => {
    const world = makeUpgradeWorld(healthy);
    const mend = breakAt(world, 'failed');
    const stop = new AbortController();
    world.clock.after(50, () => stop.abort(new Interruption('SIGINT')));
    const { end } = await simulateUpgrade(world, null, { stop: stop.signal });
    expect(phaseOf(world)).toBe('failed');
    expect(end).toMatchObject({ outcome: 'failed', owed: [], failure: { code: 'interrupted' } });
    await settleLater(world, mend);
    expect(world.fake.state(app)).toMatchObject({ imageId: 'sha256:v1', status: 'running' });
  });
});

describe('a rollback that was seen to its end, and whose debt is still there', () => {
  it('is not called down', async () => {
    const world = makeUpgradeWorld(ending);
    const mend = breakAt(world, 'rolled_back');
    const { end } = await simulateUpgrade(world, null);
    expect(end).toMatchObject({ outcome: 'rolled_back', owed: [] });
    await settleLater(world, mend);
    expect(world.fake.state(app)).toMatchObject({ imageId: 'sha256:v1', status: 'running' });
  });

  it('is not made a second time', async () => {
    const { trace } = await simulateUpgrade(makeUpgradeWorld(ending), null);
    const world = makeUpgradeWorld(ending);
    await simulateUpgrade(world, { effect: trace.lastIndexOf('debts.erase'), when: 'before' });
    expect(phaseOf(world)).toBe('rolled_back');
    world.volumes.get('data')?.rows.push('written by the old version');
    await settleLater(world, () => undefined);
    expect(world.fake.state(app)).toMatchObject({ imageId: 'sha256:v1', status: 'running' });
    expect(world.volumes.get('data')?.rows).toContain('written by the old version');
    expect(world.alerts).toHaveLength(1);
  });
});
