import { Interruption } from '@felhom/cli/signals.ts';
import { defaultUpgradeBounds } from 'felhom-controller/upgrade/bounds.ts';
import { checkHealth, rollBackByHand } from 'felhom-controller/upgrade/by-hand.ts';
import { heldBackBy } from 'felhom-controller/upgrade/check.ts';
import { upgradeDebts } from 'felhom-controller/upgrade/settle-upgrade.ts';
import { stage } from 'felhom-controller/upgrade/stage.ts';
import { describe, expect, it } from 'vitest';
import { recoverUpgradeUntilSettled, simulateUpgradeRecovery } from './upgrade-recovery.ts';
import { upgradeScenarios } from './upgrade-scenarios.ts';
import {
  live,
  makeUpgradeWorld,
  simulateUpgrade,
  stack,
  type UpgradeScenario,
  type UpgradeWorld,
} from './upgrade-world.ts';

const [healthy, ending] = upgradeScenarios;
const scenario = (found: UpgradeScenario | undefined): UpgradeScenario => {
  if (found === undefined) throw new Error('there is no such scenario');
  return found;
};
const worldOf = (found: UpgradeScenario | undefined): UpgradeWorld => makeUpgradeWorld(scenario(found));
const imageOf = (world: UpgradeWorld): string => world.fake.state('shop-app-1')?.imageId ?? 'gone';
const never = new AbortController().signal;
const quiet = { discard: false, stop: never, warn: () => undefined };

interface Machine {
  phase: string;
  attempts: number;
  checkFailures: number;
  lastError: string | null;
}
const machineOf = (world: UpgradeWorld): Machine => JSON.parse(world.machineText ?? '{}');

/** Dies right after the step of its trace that is called `name`, the `nth` time. */
async function dieAfter(world: UpgradeWorld, found: UpgradeScenario | undefined, name: string, nth = 1): Promise<void> {
  const { trace } = await simulateUpgrade(makeUpgradeWorld(scenario(found)), null);
  const at = trace.flatMap((each, index) => (each === name ? [index] : []))[nth - 1];
  if (at === undefined) throw new Error(`the upgrade never came to ${name}: ${trace.join(' ')}`);
  await simulateUpgrade(world, { effect: at, when: 'after' });
}

describe('health checks that fail', () => {
  it('roll it back at the first, by default', async () => {
    const world = worldOf(ending);
    const { end } = await simulateUpgrade(world, null);
    expect(end).toMatchObject({ outcome: 'rolled_back', recovered: true });
    expect(machineOf(world)).toMatchObject({ phase: 'rolled_back', checkFailures: 1 });
    expect(machineOf(world).lastError).toContain('not healthy');
  });

  it('are counted up to as many in a row as were asked for', async () => {
    const world = worldOf(ending);
    const { end } = await simulateUpgrade(world, null, { rollbackAfter: 3 });
    expect(end?.outcome).toBe('rolled_back');
    expect(machineOf(world).checkFailures).toBe(3);
  });

  it('are counted on by whoever takes over: a controller that was killed does not begin anew', async () => {
    const world = worldOf(ending);
    const run = simulateUpgrade(world, null, { rollbackAfter: 3 });
    const { trace } = await run;
    const again = worldOf(ending);
    // Killed after two of three were counted: the recovery needs one more, not three.
    const writes = trace.flatMap((each, index) => (each === 'machine.write' ? [index] : []));
    const second = writes.find((_, nth) => nth === 8) ?? 0;
    await simulateUpgrade(again, { effect: second, when: 'after' }, { rollbackAfter: 3 });
    const before = machineOf(again).checkFailures;
    await recoverUpgradeUntilSettled(again);
    expect(before).toBeGreaterThan(0);
    expect(machineOf(again)).toMatchObject({ phase: 'rolled_back', checkFailures: 3 });
  });

  it('count attempts by target, and a success forgets the last error', async () => {
    const world = worldOf(healthy);
    await simulateUpgrade(world, null);
    expect(machineOf(world)).toMatchObject({ phase: 'success', attempts: 1, checkFailures: 0, lastError: null });
  });
});

describe('on the bounds that it has by default', () => {
  it('an image that ends after 20 seconds is rolled back with the old data', async () => {
    const late = { id: 'sha256:v2-broken', schema: 2, behaviour: { runsForMs: 20_000, exitCode: 1 } };
    const world = makeUpgradeWorld({ ...scenario(ending), images: { ...scenario(ending).images, 'app:2': late } });
    world.settings.bounds = defaultUpgradeBounds;
    const { end } = await simulateUpgrade(world, null);
    expect(end).toMatchObject({ outcome: 'rolled_back', recovered: true });
    expect(machineOf(world).lastError).toContain('stable: shop-app-1');
    expect([imageOf(world), world.volumes.get('data')?.schema]).toEqual(['sha256:v1', 1]);
  });
});

describe('files that Compose refuses', () => {
  it('stop nothing, and nothing is promised', async () => {
    const world = worldOf(healthy);
    world.files.set('/srv/shop/compose.yaml', 'services: [');
    const starts = world.fake.starts('shop-app-1');
    await expect(simulateUpgrade(world, null)).rejects.toMatchObject({ code: 'upgrade_blocked', exit: 13 });
    expect([world.fake.starts('shop-app-1'), world.debts.isEmpty()]).toEqual([starts, true]);
  });
});

describe('a target that was rolled back', () => {
  it('is not staged again, whatever its image is called, until a person allows it', async () => {
    const world = worldOf(ending);
    await simulateUpgrade(world, null);
    world.files.set(
      '/srv/shop/compose.yaml',
      JSON.stringify({ services: { app: { ...scenario(ending).after['app'], image: 'other:name' } } }),
    );
    world.tags.set('other:name', 'sha256:v2-broken');
    const request = { stack, force: true, askRegistry: false, stop: never };
    const tried = live(world, null, async (ports) => stage(ports, world.settings, request));
    await expect(tried).rejects.toMatchObject({ code: 'held_back', exit: 13 });
    expect(machineOf(world).phase).toBe('failed');
    await live(world, null, async (ports) => ports.memory.allow(stack));
    const staged = await live(world, null, async (ports) => stage(ports, world.settings, request));
    expect(staged.end?.plan.target.images).toMatchObject([{ id: 'sha256:v2-broken' }]);
  });

  it('is known by its images: another one is free to be tried', () => {
    const plan = (id: string) => ({
      stack,
      changes: [],
      download: [],
      up: [],
      dropped: [],
      unknown: [],
      target: { key: `app=${id}`, images: [{ service: 'app', ref: 'app', id }] },
    });
    const bad = [{ key: 'app=sha256:bad', image_ids: ['sha256:bad'], at: '', why: '' }];
    expect(heldBackBy(plan('sha256:bad'), bad)).not.toBeNull();
    expect(heldBackBy(plan('sha256:good'), bad)).toBeNull();
  });
});

/** The effect by which the debt says so. */
const beginOfVerifying = (trace: readonly string[]): number =>
  trace.indexOf('debts.write', trace.indexOf('compose.start')) + 1;

describe('a stack of very many services', () => {
  it('is taken back whatever there is to say of each of them', async () => {
    const names = Array.from({ length: 80 }, (_, at) => `${'service-of-a-long-name-'.repeat(2)}${at}`);
    const all = (image: string) => Object.fromEntries(names.map((name) => [name, { image }]));
    const broken = { id: 'sha256:v2', schema: null, behaviour: { runsForMs: 10, exitCode: 1 } };
    const images = { 'app:1': { id: 'sha256:v1', schema: null }, 'app:2': broken };
    const world = makeUpgradeWorld({ name: '', images, before: all('app:1'), after: all('app:2'), becomes: 'old' });
    const { end } = await simulateUpgrade(world, null);
    expect(end).toMatchObject({ outcome: 'rolled_back', recovered: true });
    expect(world.debts.isEmpty()).toBe(true);
  });
});

describe('while it is verified', () => {
  it('a version older than the limit is not rolled back without a person, and waits', async () => {
    const world = worldOf(ending);
    const { trace } = await simulateUpgrade(worldOf(ending), null);
    await simulateUpgrade(world, { effect: beginOfVerifying(trace), when: 'after' });
    await world.clock.pass(world.settings.bounds.verifyLimitMs + 1);
    const { end } = await simulateUpgradeRecovery(world);
    expect(end?.failure?.hint).toContain('upgrade rollback shop');
    expect(imageOf(world)).toBe('sha256:v2-broken');
    expect(world.alerts).toMatchObject([{ stack, recovered: false }]);
    expect(machineOf(world).phase).toBe('verifying');
    expect((await simulateUpgradeRecovery(world)).end?.outcome).toBe('nothing');
    const back = await live(world, null, async (ports) => rollBackByHand(ports, world.settings, stack, quiet));
    expect(back.end?.outcome).toBe('rolled_back');
    expect(imageOf(world)).toBe('sha256:v1');
    expect(world.volumes.get('data')).toEqual({ schema: 1, rows: ['written', 'before'] });
    expect(world.violations).toEqual([]);
  });

  it('and is kept by a health check that it passes after all', async () => {
    const world = worldOf(healthy);
    const { trace } = await simulateUpgrade(worldOf(healthy), null);
    await simulateUpgrade(world, { effect: beginOfVerifying(trace), when: 'after' });
    world.fake.stopByHand('shop-app-1');
    await world.clock.pass(world.settings.bounds.verifyLimitMs + 1);
    await recoverUpgradeUntilSettled(world);
    // It was started again by the recovery, and is healthy: nobody has to decide.
    expect(machineOf(world).phase).toBe('success');
    const end = await live(world, null, async (ports) => checkHealth(ports, world.settings, stack, quiet));
    expect(end.end).toMatchObject({ why: null, committed: false });
  });
});

describe('an engine that restarts while the data is read', () => {
  it('starts nothing of the stack, whatever its restart policy', async () => {
    const { app } = scenario(healthy).before;
    if (app === undefined) throw new Error('the scenario has no app');
    const always = { ...app, restart: 'always' } as const;
    const world = makeUpgradeWorld({
      ...scenario(healthy),
      before: { app: always },
      after: { app: { ...always, image: 'app:2' } },
    });
    world.whileRead = () => {
      world.fake.goDown();
      world.clock.after(500, () => world.fake.comeUp());
    };
    await simulateUpgrade(world, null);
    expect(world.violations).toEqual([]);
    expect(world.fake.state('shop-app-1')).toMatchObject({ status: 'running', restartPolicy: 'always' });
  });
});

describe('asked to end', () => {
  it('while the new version is verified, it is taken back', async () => {
    const world = worldOf(healthy);
    const stop = new AbortController();
    world.clock.after(5_000, () => stop.abort(new Interruption('SIGINT')));
    const { end } = await simulateUpgrade(world, null, { stop: stop.signal });
    expect(end).toMatchObject({ outcome: 'rolled_back', failure: { code: 'interrupted' } });
    expect(imageOf(world)).toBe('sha256:v1');
    // It says nothing of the target: it may be tried again.
    expect([world.knownBad, world.alerts]).toEqual([[], []]);
  });
});

describe('a disk that is full', () => {
  it('before anything was promised: nothing is stopped', async () => {
    const world = worldOf(healthy);
    const starts = world.fake.starts('shop-app-1');
    world.diskFull = true;
    await expect(simulateUpgrade(world, null)).rejects.toMatchObject({ code: 'state_unwritable' });
    expect(world.fake.state('shop-app-1')?.status).toBe('running');
    expect(world.fake.starts('shop-app-1')).toBe(starts);
  });
});

describe('a debt', () => {
  it('that a person drops leaves no container without the restart policy that it had', async () => {
    const world = worldOf(healthy);
    await dieAfter(world, healthy, 'engine.stop');
    expect(world.fake.state('shop-app-1')?.restartPolicy).toBe('no');
    await live(world, null, async (ports) => upgradeDebts(ports, world.settings).forgive(stack));
    expect(world.fake.state('shop-app-1')?.restartPolicy).toBe('unless-stopped');
    expect(world.debts.isEmpty()).toBe(true);
  });

  it('that a newer version wrote is left to it, and said', async () => {
    const world = worldOf(healthy);
    await dieAfter(world, healthy, 'debts.write');
    world.debts.damage('newer');
    const { end } = await simulateUpgradeRecovery(world);
    expect(end).toMatchObject({ exit: 2, failure: { code: 'state_newer' } });
    expect(world.debts.isEmpty()).toBe(false);
  });

  it('that cannot be read is said, and what ran runs', async () => {
    const world = worldOf(healthy);
    await dieAfter(world, healthy, 'debts.write');
    world.debts.damage('unreadable', world.clock.nowMs());
    const { end } = await simulateUpgradeRecovery(world);
    expect(end).toMatchObject({ exit: 3, failure: { code: 'state_unreadable' } });
    expect(world.fake.state('shop-app-1')).toMatchObject({ status: 'running', imageId: 'sha256:v1' });
  });
});
