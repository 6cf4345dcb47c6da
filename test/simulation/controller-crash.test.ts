import { describe, expect, it } from 'vitest';
import { brokenInvariants, remember } from './controller-invariants.ts';
import { mixedGuest, scenarios, shutdown } from './controller-scenarios.ts';
import {
  makeWorld,
  restoredWorld,
  type Scenario,
  simulateBackup,
  simulateRecover,
  type World,
} from './controller-world.ts';
import type { CrashPoint } from './doom.ts';

/*
 * The controller dies at every effect of a run, before it and after it, and then again at every effect of the recovery
 * that follows; in the end one recovery is let through. FELHOM_SIMULATION=full takes every pair; otherwise the
 * recoveries are thinned out, evenly, so that the whole suite still exceeds 10,000 schedules.
 */

const every = process.env['FELHOM_SIMULATION'] === 'full' ? 1 : 7;
let schedules = 0;

async function recoverUntilSettled(world: World): Promise<void> {
  // Recovery is tried by the guard at once and by a timer every minute.
  for (let tries = 0; tries < 5; tries += 1) {
    const { end } = await simulateRecover(world);
    if (end?.outcome === 'nothing' || end?.outcome === 'settled') return;
    await world.clock.pass(60_000);
  }
}

/** One life and death. Returns what was broken, and how many effects the first recovery had. */
async function schedule(
  scenario: Scenario,
  crash: CrashPoint | null,
  again: CrashPoint | null,
): Promise<{ broken: string[]; effects: number; recoveryEffects: number }> {
  schedules += 1;
  const world = makeWorld(scenario);
  const before = remember(world);
  const run = await simulateBackup(world, crash);
  let recoveryEffects = 0;
  if (again !== null || run.end === null) recoveryEffects = (await simulateRecover(world, again)).trace.length;
  await recoverUntilSettled(world);
  const where = `crash ${JSON.stringify(crash)} ${run.trace.at(-1) ?? ''}, in recovery ${JSON.stringify(again)}`;
  const broken = (await brokenInvariants(world, before)).map((each) => `${where}: ${each}`);
  return { broken, effects: run.trace.length, recoveryEffects };
}

function* points(effects: number, step = 1, from = 0): Generator<CrashPoint> {
  for (let effect = from; effect < effects; effect += step) {
    yield { effect, when: 'before' };
    yield { effect, when: 'after' };
  }
}

describe.each(scenarios.map((scenario) => [scenario.name, scenario] as const))('%s', (_name, scenario) => {
  it('whatever dies, and whatever dies in the recovery: what ran runs, what was off is off, nothing is owed', async () => {
    const whole = await schedule(scenario, null, null);
    const broken = [...whole.broken];
    // Polls that repeat for hours are all alike.
    const effects = Math.min(whole.effects, 90);
    for (const crash of points(effects)) {
      const first = await schedule(scenario, crash, null);
      broken.push(...first.broken);
      for (const again of points(first.recoveryEffects, every, crash.effect % every)) {
        broken.push(...(await schedule(scenario, crash, again)).broken);
      }
      if (broken.length > 5) break;
    }
    expect(broken).toEqual([]);
  });
});

describe(shutdown.name, () => {
  it('leaves everything to the boot, which brings it back', async () => {
    const broken: string[] = [];
    const world = makeWorld(shutdown);
    const total = (await simulateBackup(world, null)).trace.length;
    for (const crash of [null, ...points(total)]) {
      schedules += 1;
      const guest = makeWorld(shutdown);
      const before = remember(guest);
      const run = await simulateBackup(guest, crash);
      if (guest.shutdown.isUnderWay) {
        const tried = await simulateRecover(guest);
        if (tried.end?.outcome !== 'left_to_boot') broken.push(`recovery in a dying guest: ${tried.end?.outcome}`);
      }
      guest.fake.goDown();
      await guest.clock.pass(10_000);
      guest.shutdown.isUnderWay = false;
      guest.shutdown.bootId = 'boot-2';
      guest.fake.comeUp();
      await recoverUntilSettled(guest);
      // A container with restart `no` that no marker names is not started by a boot: only crashes with a marker count.
      const found = await brokenInvariants(guest, before);
      const isOwed = run.trace.includes('engine.stop');
      broken.push(
        ...found
          .filter((each) => isOwed || !each.includes('ran before'))
          .map((each) => `${JSON.stringify(crash)}: ${each}`),
      );
    }
    expect(broken).toEqual([]);
  });
});

describe('a guest restored from its own backup', () => {
  it('beside the original: its apps run after its first boot, and it reports nothing', async () => {
    const original = makeWorld({ name: 'original', containers: mixedGuest });
    const before = remember(original);
    await simulateBackup(original, null);
    const copyOf = (): World => {
      const copy = restoredWorld(original);
      if (copy === null) throw new Error('no snapshot was taken');
      return copy;
    };
    const total = (await simulateRecover(copyOf())).trace.length;
    const broken: string[] = [];
    for (const crash of [null, ...points(total)]) {
      schedules += 1;
      const copy = copyOf();
      await simulateRecover(copy, crash);
      await recoverUntilSettled(copy);
      const atBoot = {
        starts: new Map([...before.starts.keys()].map((name) => [name, copy.fake.starts(name)] as const)),
      };
      broken.push(...(await brokenInvariants(copy, atBoot)).map((each) => `${JSON.stringify(crash)}: ${each}`));
      if (copy.agent.reports.length > 0) broken.push('a copy has reported');
    }
    expect(broken).toEqual([]);
  });
});

describe('the simulation', () => {
  it('has run at least 10,000 schedules', () => {
    process.stdout.write(`${schedules} schedules of the controller\n`);
    expect(schedules).toBeGreaterThanOrEqual(10_000);
  });
});
