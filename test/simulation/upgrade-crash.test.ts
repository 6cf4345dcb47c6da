import { describe, expect, it } from 'vitest';
import type { CrashPoint } from './doom.ts';
import { brokenUpgrade } from './upgrade-invariants.ts';
import { recoverUpgradeUntilSettled, simulateUpgradeRecovery } from './upgrade-recovery.ts';
import { upgradeScenarios } from './upgrade-scenarios.ts';
import { makeUpgradeWorld, simulateUpgrade, type UpgradeScenario } from './upgrade-world.ts';

/*
 * An upgrade dies at every effect, before it and after it, and again at every effect of the recovery that follows; in
 * the end one recovery is let through. What runs then is the new version, healthy, on data that it has migrated, or
 * the old one on the data as it was. FELHOM_SIMULATION=full takes every pair; otherwise they are thinned out, evenly.
 */

const every = process.env['FELHOM_SIMULATION'] === 'full' ? 1 : 41;
let schedules = 0;

async function schedule(
  scenario: UpgradeScenario,
  crash: CrashPoint | null,
  again: CrashPoint | null,
  engineDies = false,
): Promise<{ broken: string[]; effects: number; recoveryEffects: number; isOwed: boolean }> {
  schedules += 1;
  const world = makeUpgradeWorld(scenario);
  const run = await simulateUpgrade(world, crash);
  if (engineDies) {
    world.fake.goDown();
    await world.clock.pass(1_000);
    world.fake.comeUp();
  }
  let recoveryEffects = 0;
  if (again !== null || run.end === null) recoveryEffects = (await simulateUpgradeRecovery(world, again)).trace.length;
  await recoverUpgradeUntilSettled(world);
  const where = `crash ${JSON.stringify(crash)} ${run.trace.at(-1) ?? ''}, in recovery ${JSON.stringify(again)}`;
  const broken = (await brokenUpgrade(world, scenario, crash === null)).map((each) => `${where}: ${each}`);
  return { broken, effects: run.trace.length, recoveryEffects, isOwed: owes(run.trace) };
}

/** Something was owed when it died. */
function owes(trace: readonly string[]): boolean {
  return trace.lastIndexOf('debts.write') > trace.lastIndexOf('debts.erase');
}

function* points(effects: number, step = 1, from = 0): Generator<CrashPoint> {
  for (let effect = from; effect < effects; effect += step) {
    yield { effect, when: 'before' };
    yield { effect, when: 'after' };
  }
}

describe.each(upgradeScenarios.map((scenario) => [scenario.name, scenario] as const))('%s', (_name, scenario) => {
  it('whatever dies, and whatever dies in the recovery: one version whole, with its data', async () => {
    const whole = await schedule(scenario, null, null);
    const broken = [...whole.broken];
    for (const crash of points(whole.effects)) {
      const first = await schedule(scenario, crash, null);
      broken.push(...first.broken);
      for (const again of points(first.recoveryEffects, every, crash.effect % every))
        broken.push(...(await schedule(scenario, crash, again)).broken);
      if (broken.length > 5) break;
    }
    expect(broken).toEqual([]);
  });

  it('the same when the engine goes down with it and comes up before any recovery', async () => {
    const broken: string[] = [];
    const { effects } = await schedule(scenario, null, null);
    for (const crash of points(effects)) {
      const { broken: found, isOwed } = await schedule(scenario, crash, null, true);
      // Before a debt was written it is the engine's restart alone: what has the restart policy "no" stays down then.
      broken.push(...found.filter((each) => isOwed || !each.includes('is exited')));
    }
    expect(broken.slice(0, 5)).toEqual([]);
  });
});

describe('the upgrade simulation', () => {
  it('has run thousands of schedules', () => {
    process.stdout.write(`${schedules} schedules of upgrades\n`);
    expect(schedules).toBeGreaterThanOrEqual(1_500);
  });
});
