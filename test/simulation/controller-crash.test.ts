import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { brokenInvariants, remember } from './controller-invariants.ts';
import { mixedGuest, scenarios, shutdown } from './controller-scenarios.ts';
import {
  type Ended,
  makeWorld,
  restoredWorld,
  type Scenario,
  simulateBackup,
  simulateRecover,
  type World,
} from './controller-world.ts';
import { distinctPoints } from './crash-points.ts';
import type { CrashPoint } from './doom.ts';

/*
 * The controller dies at every effect of a run, before it and after it, and then again at every effect of the recovery
 * that follows; in the end one recovery is let through. Deaths between which nothing happened are one. Polls that follow
 * one upon the other for hours are all alike: after the first two of a row every 25th is crashed into, before a recovery
 * that lives.
 */

let schedules = 0;

// Errors are made by the thousand and read by nobody: where they came from is not worth a quarter of the time.
const { stackTraceLimit } = Error;
beforeAll(() => {
  Error.stackTraceLimit = 0;
});
afterAll(() => {
  Error.stackTraceLimit = stackTraceLimit;
});

async function recoverUntilSettled(world: World): Promise<void> {
  // Recovery is tried by the guard at once and by a timer every minute.
  for (let tries = 0; tries < 5; tries += 1) {
    const { end } = await simulateRecover(world);
    if (end?.outcome === 'nothing' || end?.outcome === 'settled') return;
    await world.clock.pass(60_000);
  }
}

interface Schedule {
  broken: string[];
  run: Ended<unknown>;
  /** Where the first recovery may die. */
  again: CrashPoint[];
}

/** One life and death, and the death of the recovery that follows. */
async function schedule(scenario: Scenario, crash: CrashPoint | null, again: CrashPoint | null): Promise<Schedule> {
  schedules += 1;
  const world = makeWorld(scenario);
  const before = remember(world);
  const run = await simulateBackup(world, crash);
  const recovery = again !== null || run.end === null ? await simulateRecover(world, again) : null;
  await recoverUntilSettled(world);
  const where = `crash ${JSON.stringify(crash)} ${run.trace.at(-1) ?? ''}, in recovery ${JSON.stringify(again)}`;
  const broken = (await brokenInvariants(world, before)).map((each) => `${where}: ${each}`);
  return { broken, run, again: recovery === null ? [] : distinctPoints(recovery.moments) };
}

function isRepeatedPoll(trace: readonly string[], { effect }: CrashPoint): boolean {
  return trace.slice(Math.max(0, effect - 2), effect + 1).every((name) => name === 'agent.status');
}

describe.each(scenarios.map((scenario) => [scenario.name, scenario] as const))('%s', (_name, scenario) => {
  it('whatever dies, and whatever dies in the recovery: what ran runs, what was off is off, nothing is owed', async () => {
    const whole = await schedule(scenario, null, null);
    const broken = [...whole.broken];
    for (const crash of distinctPoints(whole.run.moments)) {
      const isRepeated = isRepeatedPoll(whole.run.trace, crash);
      if (isRepeated && crash.effect % 25 !== 0) continue;
      const first = await schedule(scenario, crash, null);
      broken.push(...first.broken);
      for (const again of isRepeated ? [] : first.again)
        broken.push(...(await schedule(scenario, crash, again)).broken);
      if (broken.length > 5) break;
    }
    expect(broken).toEqual([]);
  });
});

describe(shutdown.name, () => {
  it('leaves everything to the boot, which brings it back', async () => {
    const broken: string[] = [];
    const world = makeWorld(shutdown);
    const { moments } = await simulateBackup(world, null);
    for (const crash of [null, ...distinctPoints(moments)]) {
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
  it.each(['beside', 'over'] as const)('%s its original: its apps run after its first boot', async (where) => {
    const original = makeWorld({ name: 'original', containers: mixedGuest });
    const before = remember(original);
    await simulateBackup(original, null);
    const copyOf = (): World => {
      const copy = restoredWorld(original, where);
      if (copy === null) throw new Error('no snapshot was taken');
      return copy;
    };
    const broken: string[] = [];
    const boot = async (crashes: readonly CrashPoint[]): Promise<CrashPoint[]> => {
      schedules += 1;
      const copy = copyOf();
      let points: CrashPoint[] = [];
      for (const crash of [...crashes, null]) points = distinctPoints((await simulateRecover(copy, crash)).moments);
      await recoverUntilSettled(copy);
      const atBoot = {
        starts: new Map([...before.starts.keys()].map((name) => [name, copy.fake.starts(name)] as const)),
      };
      broken.push(...(await brokenInvariants(copy, atBoot)).map((each) => `${JSON.stringify(crashes)}: ${each}`));
      // A copy is refused; over its original the agent has a report of this run already, and the first one counts.
      if (copy.agent.reports.some(({ grade }) => where === 'beside' || grade === 'app-consistent'))
        broken.push('it has reported what the original did');
      return points;
    };
    for (const first of await boot([])) for (const second of await boot([first])) await boot([first, second]);
    expect(broken).toEqual([]);
  });
});

describe('the simulation', () => {
  it('has run at least 10,000 schedules', () => {
    process.stdout.write(`${schedules} schedules of the controller\n`);
    expect(schedules).toBeGreaterThanOrEqual(10_000);
  });
});
