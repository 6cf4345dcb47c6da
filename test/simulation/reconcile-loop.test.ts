import type { Failure } from '@felhom/kernel/failure.ts';
import { PveError } from '@felhom/proxmox/errors.ts';
import { entriesOf } from 'felhom-agent/reconcile/action-record.ts';
import { type LoopOptions, runLoop } from 'felhom-agent/reconcile/loop.ts';
import type { PassReport } from 'felhom-agent/reconcile/report.ts';
import { describe, expect, it } from 'vitest';
import { reconcileScenarios } from './reconcile-scenarios.ts';
import {
  livePorts,
  type ReconcileScenario,
  type ReconcileWorld,
  reconcileLimits,
  reconcileWorld,
} from './reconcile-world.ts';

const [scenario] = reconcileScenarios;
const minute = 60_000;
const leftUpid = 'UPID:pve1:000003E8:00000000:6AFF9B90:vzstart:101:felhom@pve!agent:';

interface Watched {
  world: ReconcileWorld;
  stop: AbortController;
  /** When each pass ended, in milliseconds of the clock. */
  passes: { atMs: number; report: PassReport }[];
  failures: { atMs: number; failure: Failure }[];
  beats: number[];
  done: Promise<void>;
}

/** A loop over the simulated node; `change` comes between it and the node. */
function watch(
  change: (world: ReconcileWorld) => Partial<Parameters<typeof runLoop>[0]> = () => ({}),
  more: Partial<LoopOptions> = {},
  plan: ReconcileScenario['plan'] = {},
): Watched {
  if (scenario === undefined) throw new Error('no scenario');
  const world = reconcileWorld({ ...scenario, plan });
  const stop = new AbortController();
  const watched: Omit<Watched, 'done'> = { world, stop, passes: [], failures: [], beats: [] };
  const { clock } = world;
  const done = runLoop(
    { ...livePorts(world), ...change(world) },
    {
      limits: reconcileLimits,
      vmids: null,
      allowStops: null,
      allowMemoryBelowUse: false,
      lockTimeoutMs: 0,
      intervalMs: 30_000,
      longestPauseMs: 10 * minute,
      gateMs: 30 * minute,
      random: () => 0.5,
      stop: stop.signal,
      onReport: (report) => watched.passes.push({ atMs: clock.monotonicMs(), report }),
      onFailure: (failure) => watched.failures.push({ atMs: clock.monotonicMs(), failure }),
      onBeat: () => watched.beats.push(clock.monotonicMs()),
      ...more,
    },
  );
  return { ...watched, done };
}
const unreachable = (): PveError =>
  new PveError({ fault: { kind: 'transport', outcome: 'not-sent' }, call: 'GET status', text: 'no route' });
const refused = (): PveError =>
  new PveError({ fault: { kind: 'failed' }, call: 'POST start', text: 'it does not start' });
const gaps = (times: readonly number[]): number[] => times.slice(1).map((time, index) => time - (times[index] ?? 0));

describe('the loop', () => {
  it('makes its first pass at once, and one every interval', async () => {
    const { world, passes, stop, done, beats } = watch();
    await world.clock.pass(5 * minute);
    expect(passes[0]?.atMs).toBeLessThan(10_000);
    expect(passes[0]?.report.outcome).toBe('applied');
    expect(passes.slice(1).every(({ report }) => report.outcome === 'in_sync')).toBe(true);
    for (const gap of gaps(passes.map(({ atMs }) => atMs))) expect(gap).toBeCloseTo(30_000, -3);
    expect(beats.length).toBeGreaterThan(passes.length);
    stop.abort();
    await world.clock.run(done);
  });

  it.each([
    [0, 27_000],
    [1, 33_000],
  ])('with chance at %d comes after %d ms', async (chance, expected) => {
    const { world, passes, stop, done } = watch(() => ({}), { random: () => chance });
    await world.clock.pass(3 * minute);
    for (const gap of gaps(passes.map(({ atMs }) => atMs))) expect(gap).toBeCloseTo(expected, -3);
    stop.abort();
    await world.clock.run(done);
  });

  it('comes less often while no pass can be made, never later than the longest pause, and as before afterwards', async () => {
    let broken = true;
    const { world, passes, failures, stop, done } = watch((it) => ({
      desired: {
        read: async () => {
          if (broken) throw new Error('not now');
          return it.desired();
        },
      },
    }));
    await world.clock.pass(60 * minute);
    const pauses = gaps(failures.map(({ atMs }) => atMs)).map((ms) => Math.round(ms / 1_000));
    expect(pauses.slice(0, 6)).toEqual([60, 120, 240, 480, 600, 600]);
    expect(passes).toEqual([]);
    broken = false;
    await world.clock.pass(20 * minute);
    expect(gaps(passes.slice(1).map(({ atMs }) => atMs)).every((gap) => gap < 35_000)).toBe(true);
    stop.abort();
    await world.clock.run(done);
  });

  it('makes no pass before what was left open is resolved, or half an hour has passed; asked to end it ends at once', async () => {
    const leaveOpen = (world: ReconcileWorld): void =>
      world.leaveOpen({
        vmid: 101,
        kind: 'start',
        upid: leftUpid,
      });
    const unanswered = (world: ReconcileWorld): Partial<Parameters<typeof runLoop>[0]> => {
      leaveOpen(world);
      const { pve } = world.node;
      return {
        pve: {
          ...pve,
          tasks: {
            ...pve.tasks,
            status: (upid, options) =>
              upid === leftUpid ? Promise.reject(unreachable()) : pve.tasks.status(upid, options),
          },
        },
      };
    };
    const long = watch(unanswered);
    await long.world.clock.pass(29 * minute);
    expect(long.passes).toEqual([]);
    await long.world.clock.pass(2 * minute);
    expect(long.passes[0]?.report.guests.find(({ vmid }) => vmid === 101)).toMatchObject({ outcome: 'deferred' });
    expect(long.passes[0]?.report.guests.find(({ vmid }) => vmid === 103)).toMatchObject({ outcome: 'applied' });
    long.stop.abort();
    await long.world.clock.run(long.done);

    const short = watch(unanswered);
    await short.world.clock.pass(5_000);
    const asked = short.world.clock.monotonicMs();
    short.stop.abort();
    await short.world.clock.run(short.done);
    expect(short.world.clock.monotonicMs() - asked).toBeLessThan(1_000);
    expect(short.passes).toEqual([]);
  });

  it('goes on with the others while one guest takes minutes, which keeps its lane; how that ended is told once', async () => {
    const { world, passes, stop, done } = watch(() => ({}), {}, { slow: { 102: 3 * minute } });
    const of = (vmid: number) =>
      passes
        .map(({ report }) => report.guests.find((guest) => guest.vmid === vmid))
        .filter((guest) => guest !== undefined);
    await world.clock.pass(minute);
    expect(world.node.guests.get(101)).toMatchObject({ running: true, config: { cores: '4' } });
    // Somebody stops another guest meanwhile: it is seen at the next interval.
    world.node.power(101, 'shutdown');
    await world.clock.pass(90_000);
    expect(world.node.guests.get(101)?.running).toBe(true);
    expect(passes.length).toBeGreaterThanOrEqual(4);
    expect(of(102)).toEqual(of(102).map(() => expect.objectContaining({ outcome: 'deferred', actions: [] })));
    expect([...world.lanes.keys()]).toEqual(['guest-102']);
    expect(passes.flatMap(({ report }) => report.recovered)).toEqual([]);
    await world.clock.pass(2 * minute);
    const told = of(102).filter(({ actions }) => actions.length > 0);
    expect(told).toMatchObject([{ outcome: 'applied', actions: [{ action: 'shut down', outcome: 'done' }] }]);
    expect(world.node.effects.filter((effect) => effect === 'shutdown 102')).toHaveLength(1);
    expect(world.node.violations).toEqual([]);
    stop.abort();
    await world.clock.run(done);
  });

  it('begins nothing more of a plan whose pass is over: what is declared may be another thing by then', async () => {
    const { world, stop, done } = watch(({ node, clock }) => ({
      pve: {
        ...node.pve,
        guests: {
          ...node.pve.guests,
          setConfig: async (...args) => {
            await clock.sleep(2 * minute);
            await node.pve.guests.setConfig(...args);
          },
        },
      },
    }));
    await world.clock.pass(3 * minute);
    // The start that follows the write was planned by a later pass.
    const entries = entriesOf(world.records).filter(({ intent }) => intent.vmid === 101);
    expect(entries.map(({ intent }) => intent.action.kind)).toEqual(['configure', 'start']);
    expect(new Set(entries.map(({ intent }) => intent.key.split(':')[0])).size).toBe(2);
    expect(world.node.violations).toEqual([]);
    stop.abort();
    await world.clock.run(done);
  });

  it.each([
    ['in its own pass', 5_000],
    ['beside a later one', 2 * minute],
  ])('asked to end while a guest takes long (%s) leaves its task to the journal after the grace', async (_, atMs) => {
    const { world, stop, done } = watch(() => ({}), {}, { slow: { 102: 10 * minute } });
    await world.clock.pass(atMs);
    const askedMs = world.clock.monotonicMs();
    stop.abort();
    await world.clock.run(done);
    const tookMs = world.clock.monotonicMs() - askedMs;
    expect(tookMs).toBeGreaterThan(15_000);
    expect(tookMs).toBeLessThan(reconcileLimits.stopGraceMs + 1_000);
    const open = entriesOf(world.records).filter(({ end }) => end === null);
    expect(open).toMatchObject([{ intent: { vmid: 102 }, upid: expect.stringContaining('vzshutdown') }]);
    expect([...world.lanes.keys()]).toEqual([]);
  });

  it('tells of those that wait for a place behind one that takes long that their turn did not come', async () => {
    const limits = { ...reconcileLimits, mutations: 1 };
    const { world, passes, stop, done } = watch(() => ({}), { limits }, { slow: { 101: 3 * minute } });
    await world.clock.pass(minute);
    expect(passes[0]?.report.guests).toMatchObject([
      { vmid: 101, reason: expect.stringContaining('still under way') },
      { vmid: 102, reason: expect.stringContaining('before its turn') },
      { vmid: 103, reason: expect.stringContaining('before its turn') },
    ]);
    await world.clock.pass(4 * minute);
    expect(passes.at(-1)?.report.outcome).toBe('in_sync');
    expect(world.node.effects).toHaveLength(4);
    stop.abort();
    await world.clock.run(done);
  });

  it('asked to end begins nothing more once the grace is over: those whose turn has not come are left to the next start', async () => {
    const limits = { ...reconcileLimits, mutations: 1 };
    const { world, passes, stop, done } = watch(() => ({}), { limits }, { slow: { 101: 10 * minute } });
    await world.clock.pass(2_000);
    stop.abort();
    await world.clock.run(done);
    expect(world.node.effects).toEqual(['setConfig 101', 'start 101']);
    expect(passes.at(-1)?.report.guests).toMatchObject([
      { vmid: 101, outcome: 'deferred', actions: [{ outcome: 'done' }, { outcome: null }] },
      { vmid: 102, outcome: 'deferred', reason: expect.stringContaining('before its turn'), actions: [] },
      { vmid: 103, outcome: 'deferred', reason: expect.stringContaining('before its turn'), actions: [] },
    ]);
  });

  it('asked to end while the node does not say how its guests are ends all the same, and says so', async () => {
    const { world, passes, failures, stop, done } = watch(
      ({ node, clock }) => ({
        pve: {
          ...node.pve,
          guests: {
            ...node.pve.guests,
            pending: async (...args) => {
              await clock.sleep(14_000);
              return await node.pve.guests.pending(...args);
            },
          },
        },
      }),
      { limits: { ...reconcileLimits, configReads: 1, stopGraceMs: 5_000 } },
    );
    await world.clock.pass(1_000);
    stop.abort();
    await world.clock.run(done);
    expect(world.clock.monotonicMs()).toBeLessThan(1_000 + 5_000 + 14_000);
    expect(passes).toEqual([]);
    expect(failures).toMatchObject([{ failure: { code: 'interrupted' } }]);
    expect(world.node.effects).toEqual([]);
  });

  it('asked to end in the middle of a pass brings the pass to its end', async () => {
    const { world, passes, stop, done } = watch();
    await world.clock.pass(200);
    expect(passes).toEqual([]);
    stop.abort();
    await world.clock.run(done);
    expect(passes).toMatchObject([{ report: { outcome: 'applied' } }]);
  });

  it('tries a guest that fails less and less often, and the others as always', async () => {
    const { world, passes, stop, done } = watch(({ node }) => ({
      pve: {
        ...node.pve,
        guests: {
          ...node.pve.guests,
          start: () => Promise.reject(refused()),
        },
      },
    }));
    await world.clock.pass(10 * minute);
    const tries = passes.filter(({ report }) =>
      report.guests.some(({ vmid, actions }) => vmid === 101 && actions.length > 0),
    );
    expect(passes.length).toBeGreaterThan(15);
    expect(tries.length).toBeLessThan(7);
    expect(passes.at(-1)?.report.guests.find(({ vmid }) => vmid === 101)).toMatchObject({
      outcome: 'failed',
      reason: expect.stringMatching(/failed \d times, tried again in/),
    });
    expect(passes.at(-1)?.report.guests.find(({ vmid }) => vmid === 102)).toMatchObject({ outcome: 'in_sync' });
    stop.abort();
    await world.clock.run(done);
  });
});
