import { type Marker, marker } from 'felhom-controller/quiesce/marker.ts';
import type { RunHolder } from 'felhom-controller/quiesce/ports.ts';
import { isStackOwed } from 'felhom-controller/quiesce/stack-owed.ts';
import { upgradeDebt } from 'felhom-controller/upgrade/debt.ts';
import { asItIsNow, underRunLock } from 'felhom-controller/upgrade/under-lock.ts';
import type { StackLook } from 'felhom-controller/upgrade/upgrade-plan.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { type FakeEngine, fakeEngine } from './fake-engine.ts';
import { markerPlace } from './memory-stores.ts';
import { virtualClock } from './virtual-clock.ts';

/* What an upgrade makes sure of before it writes what it owes. */

const never = new AbortController().signal;
let holder: RunHolder | null;
let clock: ReturnType<typeof virtualClock>;
let debts: ReturnType<typeof markerPlace<ReturnType<typeof upgradeDebt.parse>>>;
let markers: ReturnType<typeof markerPlace<Marker>>;
beforeEach(() => {
  markers = markerPlace(marker);
  holder = null;
  clock = virtualClock();
  debts = markerPlace(upgradeDebt);
});

const underLock = async <T>(work: () => Promise<T>): Promise<T> =>
  await underRunLock(
    {
      clock,
      debts: debts.open(),
      othersOwe: async (stack) => await isStackOwed({ markers: markers.open(), otherDebts: [] }, stack),
      system: { newRunId: () => 'run-1', bootId: async () => 'boot', isStopping: async () => false },
      lock: {
        acquire: async (what, runId) => {
          if (holder !== null) return { kind: 'busy', holder };
          holder = { pid: 7, startTime: '1', what, runId, deadlineMs: null };
          const release = async (): Promise<void> => {
            holder = null;
          };
          return { kind: 'held', lock: { inheritFds: [], update: async () => undefined, release } };
        },
        isAlive: async () => true,
        endHolder: async () => undefined,
        endChildren: async () => undefined,
      },
    },
    { stack: 'shop', patienceMs: 10_000, stop: never },
    work,
  );

describe('whoever writes or erases the debt of an upgrade', () => {
  it('holds the run lock meanwhile, and gives it back whatever comes of it', async () => {
    expect(await underLock(async () => holder?.what)).toBe('upgrade');
    await expect(underLock(async () => await Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(holder).toBeNull();
  });

  it('is refused while another run is under way', async () => {
    holder = { pid: 8, startTime: '1', what: 'backup', runId: 'run-0', deadlineMs: null };
    await expect(underLock(async () => 'done')).rejects.toMatchObject({ code: 'busy' });
    expect(holder).toMatchObject({ pid: 8 });
    expect(clock.monotonicMs()).toBe(0);
  });

  it('waits for a recovery or a pass of reconcile, and is refused where that does not end', async () => {
    holder = { pid: 8, startTime: '1', what: 'recover', runId: null, deadlineMs: null };
    clock.after(3_000, () => {
      holder = null;
    });
    expect(await clock.run(underLock(async () => clock.monotonicMs()))).toBe(3_000);
    holder = { pid: 9, startTime: '1', what: 'recover', runId: null, deadlineMs: null };
    await expect(clock.run(underLock(async () => 'done'))).rejects.toMatchObject({
      code: 'busy',
      message: expect.stringContaining('process 9, recover'),
    });
    expect(clock.monotonicMs()).toBe(13_000);
  });

  it.each(['unreadable', 'newer'] as const)(
    'is refused where another one is owed (%s): it stays as it is',
    async (kind) => {
      debts.damage(kind);
      await expect(underLock(async () => 'done')).rejects.toMatchObject({
        code: 'busy',
        hint: 'Settle it first: felhom-controller recover',
      });
      expect(debts.isEmpty()).toBe(false);
      expect(holder).toBeNull();
    },
  );
});

describe('a stack that another run has left down', () => {
  const owing = (project: string): Marker => ({
    run_id: 'run-0',
    job_id: null,
    boot_id: 'boot',
    engine_id: 'engine',
    written_at_ms: 0,
    deadline_at_ms: 1,
    debts: [
      {
        id: 'c'.repeat(64),
        name: `${project}-app-1`,
        project,
        service: 'app',
        number: 1,
        started_at: '2026-01-01T00:00:00Z',
        was: 'running',
        was_healthy: false,
        restart_policy: 'no',
        stop_grace_ms: 10_000,
        health_limit_ms: 0,
        dependencies: [],
        namespaces_of: [],
        compose_files: [],
        env_files: [],
        working_dir: null,
        run_id: 'run-0',
      },
    ],
    after_start: [],
  });

  it('is not upgraded before its apps are back: it would be taken for one that was switched off', async () => {
    await markers.open().write(owing('shop'));
    await expect(underLock(async () => 'done')).rejects.toMatchObject({
      code: 'busy',
      message: expect.stringContaining('a run that stopped shop was cut off'),
    });
    expect(holder).toBeNull();
  });

  it('keeps no other stack from its upgrade', async () => {
    await markers.open().write(owing('wiki'));
    expect(await underLock(async () => 'done')).toBe('done');
  });

  it.each(['unreadable', 'newer'] as const)('may be this one where the marker is %s', async (kind) => {
    markers.damage(kind);
    await expect(underLock(async () => 'done')).rejects.toMatchObject({ code: 'busy' });
  });
});

describe('what an upgrade stops', () => {
  let fake: FakeEngine;
  let look: StackLook;
  beforeEach(async () => {
    fake = fakeEngine(virtualClock());
    fake.add({ name: 'shop-app-1', project: 'shop', service: 'app', restartPolicy: 'no' });
    const none = { images: new Map(), comparable: new Map(), remote: new Map(), oneOffs: [] };
    const files = { project: 'shop', composeFiles: [], envFiles: [], workingDir: null };
    look = { ...none, files, stack: 'shop', config: { services: [] }, containers: await fake.engine.list() };
  });
  const now = async (): Promise<StackLook> => await asItIsNow({ engine: { list: fake.engine.list } }, look);

  it('is known with the start that it has under the lock: a backup may have started it since it was looked at', async () => {
    fake.stopByHand('shop-app-1');
    fake.startByHand('shop-app-1');
    const [before, after] = [look.containers[0]?.startedAt, (await now()).containers[0]?.startedAt];
    expect(after).toBe(fake.state('shop-app-1')?.startedAt);
    expect(after).not.toBe(before);
  });

  it('is what was looked at, or nothing', async () => {
    fake.remove('shop-app-1');
    await expect(now()).rejects.toMatchObject({ code: 'busy' });
    fake.add({ name: 'shop-app-1', project: 'shop', service: 'app' });
    await expect(now()).rejects.toMatchObject({ code: 'busy' });
  });
});
