import { Interruption } from '@felhom/cli/signals.ts';
import { rollBackByHand } from 'felhom-controller/upgrade/by-hand.ts';
import { describe, expect, it } from 'vitest';
import type { CrashPoint } from './doom.ts';
import { recoverUpgradeUntilSettled, simulateUpgradeRecovery } from './upgrade-recovery.ts';
import { upgradeScenarios } from './upgrade-scenarios.ts';
import {
  composePath,
  live,
  makeUpgradeWorld,
  simulateUpgrade,
  stack,
  type UpgradeScenario,
  type UpgradeWorld,
} from './upgrade-world.ts';

/*
 * A rollback whose way back ends nowhere: the snapshot is damaged or cannot be put back, an image is gone. The app is
 * not left down for it: the new version runs on with its own data, never the old one on that, and a person is told.
 */

const [healthy, ending] = upgradeScenarios as [UpgradeScenario, UpgradeScenario];
const app = 'shop-app-1';
const never = new AbortController().signal;

interface Machine {
  phase: string;
  data: { waits_for_person: boolean };
}
const machineOf = (world: UpgradeWorld): Machine => JSON.parse(world.machineText ?? '{}');
const imageOf = (world: UpgradeWorld): string => world.fake.state(app)?.imageId ?? 'gone';
const backByHand = async (world: UpgradeWorld, warnings: string[] = []) =>
  await live(world, null, async (ports) =>
    rollBackByHand(ports, world.settings, stack, {
      discard: false,
      stop: never,
      warn: (text) => void warnings.push(text),
    }),
  );

/** Everything that does not hold in the end, in words. */
async function broken(world: UpgradeWorld): Promise<string[]> {
  await world.clock.pass(120_000);
  const found = [...world.violations];
  const state = world.fake.state(app);
  // A crash loop is as much as a version that ends can come to.
  if (state === null || !['running', 'restarting'].includes(state.status))
    found.push(`it is ${state?.status ?? 'gone'}`);
  const isNew = state?.imageId === 'sha256:v2-broken';
  if (world.volumes.get('data')?.rows.join(' ') !== 'written before') found.push('rows are lost');
  const schema = world.volumes.get('data')?.schema;
  if (schema !== (isNew ? 2 : 1)) found.push(`${imageOf(world)} has data of schema ${schema}`);
  if (state?.restartPolicy !== 'unless-stopped') found.push(`its restart policy is ${state?.restartPolicy}`);
  if (isNew && world.alerts.length !== 1) found.push(`${world.alerts.length} alerts`);
  if (isNew && (machineOf(world).phase !== 'verifying' || !machineOf(world).data.waits_for_person))
    found.push(`its phase is ${machineOf(world).phase}, and nobody is waited for`);
  if (world.reserved && world.alerts.length > 0) found.push('room is still set aside');
  if (!world.debts.isEmpty()) found.push('a debt remains');
  const starts = world.fake.starts(app);
  if ((await simulateUpgradeRecovery(world)).end?.outcome !== 'nothing')
    found.push('a second recovery found something');
  if (!isNew && world.fake.starts(app) !== starts) found.push('a second recovery started it anew');
  return found;
}

describe.each([
  ['read', 'at once'],
  ['put back', 'at once'],
  ['read', 'after the first death'],
] as const)('a snapshot that cannot be %s, %s', (damage, since) => {
  const schedule = async (crash: CrashPoint | null, again: CrashPoint | null) => {
    const world = makeUpgradeWorld(ending);
    if (since === 'at once' || crash === null) world.damage = damage;
    const run = await simulateUpgrade(world, crash);
    world.damage = damage;
    const recovery = run.end === null || again !== null ? await simulateUpgradeRecovery(world, again) : null;
    await recoverUpgradeUntilSettled(world);
    const where = `crash ${JSON.stringify(crash)} ${run.trace.at(-1)}, in recovery ${JSON.stringify(again)}`;
    return {
      found: (await broken(world)).map((each) => `${where}: ${each}`),
      effects: run.trace.length,
      recoveryEffects: recovery?.trace.length ?? 0,
      world,
      end: run.end,
    };
  };

  it('leaves the new version running with its own data, told by an alert', async () => {
    const { end, world, found } = await schedule(null, null);
    expect(found).toEqual([]);
    expect(end).toMatchObject({ outcome: 'kept', owed: [], failure: { code: 'not_rolled_back', exit: 3 } });
    expect(imageOf(world)).toBe('sha256:v2-broken');
    expect(world.alerts).toMatchObject([{ stack, recovered: false, last_good: 'app=app:1' }]);
    expect(world.alerts[0]?.message).toMatch(/cannot be: .*(damaged|full)/);
  });

  it('whatever dies, and whatever dies in the recovery: it runs, in one version, on the data of that', async () => {
    const { effects } = await schedule(null, null);
    const found: string[] = [];
    for (let effect = 0; effect < effects; effect += 1)
      for (const when of ['before', 'after'] as const) {
        const first = await schedule({ effect, when }, null);
        found.push(...first.found);
        for (let again = effect % 11; again < first.recoveryEffects; again += 11)
          found.push(...(await schedule({ effect, when }, { effect: again, when })).found);
      }
    expect(found.slice(0, 5)).toEqual([]);
  });
});

describe('a version that is to be taken back', () => {
  it('by Ctrl-C, is kept where it is healthy and there is no way back', async () => {
    const world = makeUpgradeWorld(healthy);
    world.damage = 'read';
    const stop = new AbortController();
    world.clock.after(5_000, () => stop.abort(new Interruption('SIGINT')));
    const { end } = await simulateUpgrade(world, null, { stop: stop.signal });
    expect(end).toMatchObject({ outcome: 'kept', failure: { code: 'interrupted' } });
    expect(end?.failure?.message).toContain('healthy by now, and is kept');
    expect([imageOf(world), machineOf(world).phase]).toEqual(['sha256:v2', 'success']);
    expect(world.debts.isEmpty()).toBe(true);
  });

  it('by hand, is not even stopped where its snapshot is damaged', async () => {
    const world = makeUpgradeWorld(healthy);
    await simulateUpgrade(world, null);
    world.damage = 'read';
    const starts = world.fake.starts(app);
    await expect(backByHand(world)).rejects.toMatchObject({
      code: 'snapshot_damaged',
      message: expect.stringContaining('nothing was stopped'),
    });
    expect(world.fake.state(app)).toMatchObject({ status: 'running', imageId: 'sha256:v2' });
    expect([world.fake.starts(app), machineOf(world).phase]).toEqual([starts, 'success']);
    expect(world.debts.isEmpty()).toBe(true);
  });

  it('by hand, runs on where its snapshot turns out not to be put back, and goes back once it can be', async () => {
    const world = makeUpgradeWorld(healthy);
    await simulateUpgrade(world, null);
    world.damage = 'put back';
    expect((await backByHand(world)).end).toMatchObject({ outcome: 'kept', failure: { code: 'not_rolled_back' } });
    expect(world.fake.state(app)).toMatchObject({ status: 'running', imageId: 'sha256:v2' });
    expect(world.volumes.get('data')).toEqual({ schema: 2, rows: ['written', 'before'] });
    world.damage = 'none';
    expect((await backByHand(world)).end).toMatchObject({ outcome: 'rolled_back', recovered: true });
    expect(imageOf(world)).toBe('sha256:v1');
    expect(world.violations).toEqual([]);
  });

  it('and whose old image was pruned gets it by its digest again', async () => {
    const v1 = { id: 'sha256:v1', schema: 1, digests: ['app@sha256:one'] };
    const world = makeUpgradeWorld({ ...ending, images: { ...ending.images, 'app:1': v1 } });
    world.registry.set('app@sha256:one', v1);
    // While it is verified somebody prunes, pins and names included.
    world.clock.after(3_000, () => void world.images.delete(v1.id));
    const { end } = await simulateUpgrade(world, null);
    expect(end).toMatchObject({ outcome: 'rolled_back', recovered: true });
    expect(imageOf(world)).toBe('sha256:v1');
  });

  it('and whose old image is gone for good stays, with its own data', async () => {
    const world = makeUpgradeWorld(ending);
    world.clock.after(3_000, () => void world.images.delete('sha256:v1'));
    const { end } = await simulateUpgrade(world, null);
    expect(end).toMatchObject({ outcome: 'kept', failure: { code: 'not_rolled_back' } });
    expect(end?.failure?.message).toContain('is gone from this machine');
    expect(await broken(world)).toEqual([]);
  });

  it('before it was ever made, starts the old one on data that nothing has touched', async () => {
    const world = makeUpgradeWorld(ending);
    const { trace } = await simulateUpgrade(makeUpgradeWorld(ending), null);
    const kept = trace.indexOf('debts.write', trace.indexOf('data.keep'));
    await simulateUpgrade(world, { effect: kept, when: 'after' });
    world.fake.remove(app);
    world.damage = 'read';
    await recoverUpgradeUntilSettled(world);
    expect(imageOf(world)).toBe('sha256:v1');
    expect(await broken(world)).toEqual([]);
  });

  it('and whose old image is gone once the data is back, has the old data again when it is taken back after all', async () => {
    const { trace } = await simulateUpgrade(makeUpgradeWorld(ending), null);
    const restored = trace.indexOf('debts.write', trace.lastIndexOf('data.restore'));
    const pruned = async (): Promise<UpgradeWorld> => {
      const at = makeUpgradeWorld(ending);
      await simulateUpgrade(at, { effect: restored, when: 'after' });
      at.images.delete('sha256:v1');
      return at;
    };
    const stays = (await simulateUpgradeRecovery(await pruned())).trace;
    const world = await pruned();
    await simulateUpgradeRecovery(world, { effect: stays.lastIndexOf('compose.start') + 2, when: 'after' });
    expect(imageOf(world)).toBe('sha256:v2-broken');
    world.images.set('sha256:v1', { id: 'sha256:v1', schema: 1 });
    await recoverUpgradeUntilSettled(world);
    expect(imageOf(world)).toBe('sha256:v1');
    expect(await broken(world)).toEqual([]);
  });

  it('comes back although a person has broken the Compose file meanwhile, whose text is kept', async () => {
    const world = makeUpgradeWorld(ending);
    world.clock.after(3_000, () => void world.files.set(composePath, 'services: ['));
    const { end } = await simulateUpgrade(world, null);
    expect(end).toMatchObject({ outcome: 'rolled_back', recovered: true });
    expect(world.files.get(composePath)).toBe(JSON.stringify({ services: ending.before }));
    expect(world.files.get(`${composePath}.edited`)).toBe('services: [');
    expect(await broken(world)).toEqual([]);
  });

  it('comes back on its own data although a person has given it other data in the Compose file meanwhile', async () => {
    const theirs = JSON.stringify({ services: { app: { ...ending.before['app'], image: 'app:3', volume: 'fresh' } } });
    const world = makeUpgradeWorld(ending);
    world.clock.after(3_000, () => void world.files.set(composePath, theirs));
    const { end } = await simulateUpgrade(world, null);
    expect(end).toMatchObject({ outcome: 'rolled_back', recovered: true });
    expect(world.fake.state(app)?.mounts).toMatchObject([{ volume: 'data' }]);
    expect(world.files.get(`${composePath}.edited`)).toBe(theirs);
    expect(await broken(world)).toEqual([]);
  });

  it('leaves a Compose file alone in which a person has only named another image meanwhile', async () => {
    const theirs = JSON.stringify({ services: { app: { ...ending.before['app'], image: 'app:3' } } });
    const world = makeUpgradeWorld(ending);
    world.clock.after(3_000, () => void world.files.set(composePath, theirs));
    const { end } = await simulateUpgrade(world, null);
    expect(end).toMatchObject({ outcome: 'rolled_back', recovered: true });
    expect([imageOf(world), world.files.get(composePath)]).toEqual(['sha256:v1', theirs]);
  });
});

describe('a rollback that dies once the data is back', () => {
  it('does not put it back again: what the old version has written since is its own', async () => {
    const { trace } = await simulateUpgrade(makeUpgradeWorld(ending), null);
    const world = makeUpgradeWorld(ending);
    await simulateUpgrade(world, { effect: trace.lastIndexOf('compose.start'), when: 'after' });
    expect(imageOf(world)).toBe('sha256:v1');
    world.volumes.get('data')?.rows.push('since');
    await recoverUpgradeUntilSettled(world);
    expect(imageOf(world)).toBe('sha256:v1');
    expect(world.volumes.get('data')).toEqual({ schema: 1, rows: ['written', 'before', 'since'] });
  });
});

describe('a person who starts the new version while the old one is being put back', () => {
  it('does not leave the old one on data that was migrated meanwhile', async () => {
    const { trace } = await simulateUpgrade(makeUpgradeWorld(ending), null);
    const world = makeUpgradeWorld(ending);
    const restored = trace.indexOf('debts.write', trace.lastIndexOf('data.restore'));
    await simulateUpgrade(world, { effect: restored, when: 'after' });
    world.files.set(composePath, JSON.stringify({ services: ending.after }));
    const files = { project: stack, composeFiles: [composePath], envFiles: [], workingDir: '/srv/shop' };
    await live(world, null, async ({ engine }) =>
      engine.composeUp(files, ['app'], { boundMs: 60_000, inheritFds: [] }),
    );
    expect(world.volumes.get('data')?.schema).toBe(2);
    await recoverUpgradeUntilSettled(world);
    expect([imageOf(world), world.volumes.get('data')?.schema]).toEqual(['sha256:v1', 1]);
    expect(await broken(world)).toEqual([]);
  });
});

describe('an old version of which a part does not start', () => {
  it('is tried again without taking down what runs of it', async () => {
    const stubborn = { id: 'sha256:stubborn', schema: null, behaviour: { startFailures: 0 } };
    const beside = { image: 'beside:1', restart: 'unless-stopped' } as const;
    const world = makeUpgradeWorld({
      ...ending,
      images: { ...ending.images, 'beside:1': stubborn },
      before: { ...ending.before, beside },
      after: { ...ending.after, beside },
    });
    // From now on every container that is made of it needs four tries: its port is taken, say.
    stubborn.behaviour.startFailures = 4;
    const { end } = await simulateUpgrade(world, null);
    expect(end).toMatchObject({ outcome: 'owed', owed: [{ container: 'beside' }] });
    const starts = world.fake.starts(app);
    await recoverUpgradeUntilSettled(world);
    expect([world.fake.state(app)?.status, world.fake.state('shop-beside-1')?.status]).toEqual(['running', 'running']);
    expect(world.fake.starts(app)).toBe(starts);
    expect([machineOf(world).phase, world.debts.isEmpty()]).toEqual(['rolled_back', true]);
  });
});

describe('images of the old version', () => {
  it('have a name and a container of ours while they may be needed, and are let go of one upgrade later', async () => {
    const world = makeUpgradeWorld(healthy);
    await simulateUpgrade(world, null);
    const held = async () => ({
      names: [...world.tags.keys()].filter((name) => name.startsWith('felhom-kept:')).toSorted(),
      pins: world.fake.state('felhom-pin-shop-v1')?.imageId,
    });
    expect(await held()).toEqual({ names: ['felhom-kept:shop-v1'], pins: 'sha256:v1' });
    world.images.set('sha256:v3', { id: 'sha256:v3', schema: 3 });
    world.tags.set('app:3', 'sha256:v3').set('felhom-kept:shop-b-v1', 'sha256:v1');
    world.files.set(composePath, JSON.stringify({ services: { app: { ...healthy.after['app'], image: 'app:3' } } }));
    await simulateUpgrade(world, null);
    expect(imageOf(world)).toBe('sha256:v3');
    // That of another stack is not ours to take away.
    expect(await held()).toEqual({ names: ['felhom-kept:shop-b-v1', 'felhom-kept:shop-v2'], pins: undefined });
  });
});

describe('an upgrade that was cut off before anything of the new version was started', () => {
  const two: UpgradeScenario = {
    ...healthy,
    before: { ...healthy.before, files: { image: 'app:1', volume: 'files' } },
    after: { ...healthy.after, files: { image: 'app:2', volume: 'files' } },
  };
  /** One of two can be started again; the other is refused for as long as anybody tries. */
  const cutOff = async (): Promise<UpgradeWorld> => {
    const { trace } = await simulateUpgrade(makeUpgradeWorld(two), null);
    const world = makeUpgradeWorld(two);
    const kept = trace.indexOf('debts.write', trace.indexOf('data.keep'));
    await simulateUpgrade(world, { effect: kept, when: 'after' });
    world.fake.behave('shop-files-1', { startFailures: 1_000 });
    return world;
  };

  it('puts no snapshot over what the old version has written since it was started again', async () => {
    const world = await cutOff();
    world.clock.after(60_000, () => void world.volumes.get('data')?.rows.push('since'));
    await recoverUpgradeUntilSettled(world);
    expect(imageOf(world)).toBe('sha256:v1');
    expect(world.volumes.get('data')).toEqual({ schema: 1, rows: ['written', 'before', 'since'] });
  });

  it('puts it back where a person has started some of the new version meanwhile, whatever dies once that is removed', async () => {
    const started = async (): Promise<UpgradeWorld> => {
      const world = await cutOff();
      const files = { project: stack, composeFiles: [composePath], envFiles: [], workingDir: '/srv/shop' };
      await live(world, null, async ({ engine }) =>
        engine.composeUp(files, ['app'], { boundMs: 60_000, inheritFds: [] }),
      );
      return world;
    };
    const { trace } = await simulateUpgradeRecovery(await started());
    for (const effect of [null, trace.lastIndexOf('engine.remove')]) {
      const world = await started();
      expect(world.volumes.get('data')?.schema).toBe(2);
      if (effect !== null) await simulateUpgradeRecovery(world, { effect, when: 'after' });
      await recoverUpgradeUntilSettled(world);
      expect([imageOf(world), world.volumes.get('data')?.schema]).toEqual(['sha256:v1', 1]);
    }
  });
});
