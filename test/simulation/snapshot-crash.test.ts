import { restoreDebts } from 'felhom-controller/volume-snapshots/restore-debts.ts';
import { describe, expect, it } from 'vitest';
import type { CrashPoint } from './doom.ts';
import {
  data,
  fill,
  lookAtSnapshots,
  makeSnapshotWorld,
  places,
  type SnapshotWorld,
  simulateCreate,
  simulateRestore,
  simulateSettle,
} from './snapshot-world.ts';

/*
 * Creating and restoring die at every effect, before it and after it, and then again inside the recovery that follows.
 * FELHOM_SIMULATION=full takes every pair; otherwise recoveries are thinned out, evenly.
 */

const every = process.env['FELHOM_SIMULATION'] === 'full' ? 1 : 37;
let schedules = 0;

function* points(effects: number, step = 1, from = 0): Generator<CrashPoint> {
  for (let effect = from; effect < effects; effect += step) {
    yield { effect, when: 'before' };
    yield { effect, when: 'after' };
  }
}

/** Recovery as guard and timer try it, until nothing is owed. */
async function recoverUntilSettled(at: SnapshotWorld): Promise<void> {
  for (let tries = 0; tries < 5; tries += 1) {
    const { end } = await simulateSettle(at);
    if (end?.failure === null && (end.outcome === 'nothing' || end.outcome === 'settled')) return;
    await at.world.clock.pass(60_000);
  }
}

/** Dies at `crash`, then at `again` in the recovery; in the end one recovery is let through. */
async function schedule(
  prepare: () => Promise<SnapshotWorld>,
  work: (at: SnapshotWorld, crash: CrashPoint | null) => Promise<{ trace: readonly string[]; end: unknown }>,
  judge: (at: SnapshotWorld) => Promise<string[]>,
  {
    crash,
    again,
    between,
  }: { crash: CrashPoint | null; again: CrashPoint | null; between?: (at: SnapshotWorld) => void },
): Promise<{ broken: string[]; effects: number; recoveryEffects: number }> {
  schedules += 1;
  const at = await prepare();
  const run = await work(at, crash);
  between?.(at);
  let recoveryEffects = 0;
  if (run.end === null) recoveryEffects = (await simulateSettle(at, again)).trace.length;
  await recoverUntilSettled(at);
  await at.world.clock.pass(120_000);
  const where = `crash ${JSON.stringify(crash)} ${run.trace.at(-1) ?? ''}, in recovery ${JSON.stringify(again)}`;
  return {
    broken: (await judge(at)).map((each) => `${where}: ${each}`),
    effects: run.trace.length,
    recoveryEffects,
  };
}

async function sweep(
  prepare: () => Promise<SnapshotWorld>,
  work: (at: SnapshotWorld, crash: CrashPoint | null) => Promise<{ trace: readonly string[]; end: unknown }>,
  judge: (at: SnapshotWorld) => Promise<string[]>,
  between?: (at: SnapshotWorld) => void,
): Promise<string[]> {
  const options = between === undefined ? {} : { between };
  const whole = await schedule(prepare, work, judge, { crash: null, again: null });
  const broken = [...whole.broken];
  for (const crash of points(whole.effects)) {
    const first = await schedule(prepare, work, judge, { crash, again: null, ...options });
    broken.push(...first.broken);
    for (const again of points(first.recoveryEffects, every, crash.effect % every))
      broken.push(...(await schedule(prepare, work, judge, { crash, again, ...options })).broken);
    if (broken.length > 5) break;
  }
  return broken;
}

/** What holds after every schedule: nothing is owed, nothing lies about, every snapshot is whole, the last good one is there. */
async function standing(at: SnapshotWorld): Promise<string[]> {
  const broken = [...at.world.violations];
  if (!at.world.markers.isEmpty()) broken.push('a marker remains');
  if (!at.debts.isEmpty()) broken.push('the debt of a restore remains');
  if (at.world.lock.holder !== null) broken.push('the lock is still held');
  const { ids, whole, lastGood, leftovers } = await lookAtSnapshots(at);
  if (whole.length !== ids.length) broken.push(`of ${ids.join(', ')} only ${whole.join(', ')} are whole`);
  if (lastGood === null || !ids.includes(lastGood)) broken.push(`the last good snapshot ${lastGood} is not there`);
  if (leftovers.length > 0) broken.push(`left behind: ${leftovers.join(', ')}`);
  const again = await simulateSettle(at);
  if (again.end?.outcome !== 'nothing') broken.push(`a second recovery found something: ${JSON.stringify(again.end)}`);
  return broken;
}

describe('creating a snapshot with the stack stopped for it', () => {
  const prepare = async (): Promise<SnapshotWorld> => {
    const at = makeSnapshotWorld();
    const { end } = await simulateCreate(at, null);
    if (end?.outcome !== 'created') throw new Error(`no first snapshot: ${JSON.stringify(end)}`);
    await at.world.clock.pass(60_000);
    return at;
  };

  it('leaves a whole snapshot or none, the one before it, and everything running that ran, whatever dies', async () => {
    const judge = async (at: SnapshotWorld): Promise<string[]> => {
      const broken = await standing(at);
      for (const name of ['db', 'app', 'beside'])
        if (at.world.fake.state(name)?.status !== 'running') broken.push(`${name} ran before and does not`);
      if (at.world.fake.state('worker')?.status !== 'exited') broken.push('worker was off and is not');
      if (at.world.fake.starts('beside') !== 1) broken.push('a container of another stack was started anew');
      if (data(at) !== data(makeSnapshotWorld())) broken.push('the data was changed');
      const { ids } = await lookAtSnapshots(at);
      if (ids.length < 1 || ids.length > 2) broken.push(`there are ${ids.length} snapshots`);
      return broken;
    };
    expect(await sweep(prepare, simulateCreate, judge)).toEqual([]);
  });
});

describe('a snapshot that fails while the stack is down for it', () => {
  it('is dropped, the one before it stays the last good one, and everything runs that ran', async () => {
    const at = makeSnapshotWorld();
    await simulateCreate(at, null);
    const before = await lookAtSnapshots(at);
    at.memory.failures.captures = 1;
    const { end } = await simulateCreate(at, null);
    expect(end).toMatchObject({ outcome: 'failed', snapshot: null, owed: [] });
    expect(await lookAtSnapshots(at)).toEqual(before);
    for (const name of ['db', 'app']) expect(at.world.fake.state(name)?.status).toBe('running');
    expect(await standing(at)).toEqual([]);
  });

  it('and then cannot be kept either says first of all that an app is down', async () => {
    const at = makeSnapshotWorld();
    at.world.fake.behave('db', { startFailures: 1_000_000 });
    at.memory.failures.renames = 1;
    const { end } = await simulateCreate(at, null);
    expect(end).toMatchObject({ outcome: 'failed', snapshot: null, owed: [{ stack: 'shop', container: 'db' }] });
    expect(end?.failures.map(({ exit }) => exit)).toEqual([20, 1]);
  });
});

describe('restoring a snapshot', () => {
  /** A stack that was snapshotted as `old` and is stopped with its data and files `new`. */
  const prepare = async (): Promise<SnapshotWorld> => {
    const at = makeSnapshotWorld();
    const { end } = await simulateCreate(at, null);
    if (end?.outcome !== 'created') throw new Error(`no snapshot: ${JSON.stringify(end)}`);
    for (const name of ['app', 'db']) at.world.fake.stopByHand(name);
    await at.world.clock.pass(60_000);
    fill(at, 'new');
    return at;
  };
  const [oldData, newData] = [makeSnapshotWorld(), makeSnapshotWorld()].map((at, index) => {
    if (index === 1) fill(at, 'new');
    return data(at);
  });
  /** All of the one or all of the other. */
  const judge = async (at: SnapshotWorld): Promise<string[]> => {
    const broken = await standing(at);
    const found = data(at);
    if (found !== oldData && found !== newData) broken.push(`a mix:\n${found}`);
    for (const name of ['app', 'db'])
      if (at.world.fake.state(name)?.status !== 'exited') broken.push(`${name} was down and is not`);
    if (at.world.fake.state('db')?.restartPolicy !== 'always') broken.push('a restart policy was not put back');
    return broken;
  };

  it('puts everything back as it was: data, files, attributes', async () => {
    const at = await prepare();
    const { end } = await simulateRestore(at, null);
    expect(end).toMatchObject({ kind: 'restored' });
    expect(data(at)).toBe(oldData);
    expect(await standing(at)).toEqual([]);
  });

  it('that cannot be unpacked touches nothing', async () => {
    const at = await prepare();
    at.memory.failures.unpacks = 1;
    const { end } = await simulateRestore(at, null);
    expect(end).toMatchObject({ kind: 'refused' });
    expect(data(at)).toBe(newData);
    expect(await judge(at)).toEqual([]);
  });

  it.each([
    ['an upgrade of the stack is owed', 'shop'],
    ['what is owed cannot be read', null],
  ])('is refused while %s, and touches nothing', async (_name, stack) => {
    const at = await prepare();
    const { end } = await simulateRestore(at, null, [{ stack, deadlineMs: 0, engineId: null }]);
    expect(end).toMatchObject({ kind: 'refused', failure: { code: 'busy' } });
    expect(data(at)).toBe(newData);
  });

  it('that was cut off half way and cannot be finished is kept as no snapshot: the last good one stays', async () => {
    const whole = await prepare();
    const { trace } = await simulateRestore(whole, null);
    const at = await prepare();
    const before = await lookAtSnapshots(at);
    await simulateRestore(at, { effect: trace.lastIndexOf('disk.rename'), when: 'before' });
    // Somebody starts it on half of the data, so recovery cannot go on.
    at.world.fake.startByHand('db');
    await at.world.clock.pass(60_000);
    const { end } = await simulateCreate(at, null);
    expect(end).toMatchObject({ outcome: 'failed', failures: [{ code: 'busy' }] });
    const { ids, lastGood } = await lookAtSnapshots(at);
    expect({ ids, lastGood }).toEqual({ ids: before.ids, lastGood: before.lastGood });
    expect(at.world.fake.state('db')?.status).toBe('running');
  });

  it('that a person drops gives back the restart policies that were off for it', async () => {
    const { trace } = await simulateRestore(await prepare(), null);
    const at = await prepare();
    await simulateRestore(at, { effect: trace.lastIndexOf('disk.rename'), when: 'before' });
    expect(at.world.fake.state('db')?.restartPolicy).toBe('no');
    const { engine } = at.world.fake;
    await restoreDebts({ disk: at.memory.disk, debts: at.debts.open(), engine }).forgive('shop');
    expect(at.world.fake.state('db')?.restartPolicy).toBe('always');
    expect(at.debts.isEmpty()).toBe(true);
  });

  it('is not kept by what is owed to another stack', async () => {
    const at = await prepare();
    const { end } = await simulateRestore(at, null, [{ stack: 'wiki', deadlineMs: 0, engineId: null }]);
    expect(end).toMatchObject({ kind: 'restored' });
  });

  it('leaves all of the old or all of the new, never a mix, whatever dies', async () => {
    expect(await sweep(prepare, simulateRestore, judge)).toEqual([]);
  });

  it('is met by no engine that starts containers on half of it', async () => {
    const engineRestarts = ({ world: { fake } }: SnapshotWorld): void => {
      fake.goDown();
      fake.comeUp();
    };
    // Before the exchange an engine may start what it always starts: then the restore is undone, or waits until it is down.
    const judgeRestarted = async (at: SnapshotWorld): Promise<string[]> => {
      const found = data(at);
      const isWhole = found === oldData || found === newData;
      return isWhole ? [] : [`a mix, while db is ${at.world.fake.state('db')?.status}:\n${found}`];
    };
    expect(await sweep(prepare, simulateRestore, judgeRestarted, engineRestarts)).toEqual([]);
  });

  it('is not misled by a folder that the engine has made in the middle of it', async () => {
    const engineMakesFolders = ({ memory }: SnapshotWorld): void => {
      for (const folder of [places.volume, places.uploads])
        if (memory.portrait(folder)[0] === 'absent') memory.put(`${folder}/fresh`, 'initialised by an app');
    };
    expect(await sweep(prepare, simulateRestore, judge, engineMakesFolders)).toEqual([]);
  });

  it('puts back what is gone altogether', async () => {
    const gone = async (): Promise<SnapshotWorld> => {
      const at = await prepare();
      for (const path of [places.volume, places.uploads, places.env]) at.memory.remove(path);
      return at;
    };
    const missing = data(await gone());
    const judgeGone = async (at: SnapshotWorld): Promise<string[]> => {
      const found = data(at);
      return [...(await standing(at)), ...(found === oldData || found === missing ? [] : [`a mix:\n${found}`])];
    };
    expect(await sweep(gone, simulateRestore, judgeGone)).toEqual([]);
  });

  it.each([0, 4])(
    'takes everything back when rename %i of the exchange fails, whatever dies meanwhile',
    async (after) => {
      const failing = async (): Promise<SnapshotWorld> => {
        const at = await prepare();
        Object.assign(at.memory.failures, { renames: 1, after });
        return at;
      };
      const at = await failing();
      const { end } = await simulateRestore(at, null);
      expect(end).toMatchObject({ kind: 'refused', failure: { code: expect.any(String) } });
      expect(data(at)).toBe(newData);
      expect(await sweep(failing, simulateRestore, judge)).toEqual([]);
    },
  );

  it.each([0, 1, 2])(
    'stays what it is once it is in place, where what it replaced cannot be removed (removal %i fails halfway)',
    async (after) => {
      const at = await prepare();
      Object.assign(at.memory.failures, { removals: 1, after });
      const { end } = await simulateRestore(at, null);
      expect(end).toMatchObject({
        kind: 'restored',
        restored: { notes: [expect.stringContaining('could not be removed')] },
      });
      // In a mount point what is left lies in the data's own folder.
      const withoutLeftovers = data(at)
        .split('\n')
        .filter((line) => !line.startsWith('.felhom-restore'));
      expect(withoutLeftovers.join('\n')).toBe(oldData);
      await recoverUntilSettled(at);
      expect(await judge(at)).toEqual([]);
      expect(data(at)).toBe(oldData);
    },
  );

  it('touches nothing while the stack runs, and leaves half of it to recovery once it is down', async () => {
    const at = await prepare();
    const whole = (await simulateRestore(await prepare(), null)).trace;
    const firstSwap = whole.indexOf('disk.rename');
    await simulateRestore(at, { effect: firstSwap, when: 'after' });
    at.world.fake.startByHand('db');
    const half = data(at);
    const refused = await simulateSettle(at);
    expect(refused.end?.failure).toMatchObject({ code: 'operation_failed' });
    expect(data(at)).toBe(half);
    at.world.fake.stopByHand('db');
    await at.world.clock.pass(60_000);
    await recoverUntilSettled(at);
    expect(data(at)).toBe(oldData);
  });
});

describe('the simulation of snapshots', () => {
  it('has run thousands of schedules', () => {
    process.stdout.write(`${schedules} schedules of snapshots\n`);
    expect(schedules).toBeGreaterThan(1_500);
  });
});
