import type { Failure } from '@felhom/kernel/failure.ts';
import { PveError } from '@felhom/proxmox/errors.ts';
import { type LoopOptions, runLoop } from 'felhom-agent/reconcile/loop.ts';
import type { PassReport } from 'felhom-agent/reconcile/report.ts';
import { describe, expect, it } from 'vitest';
import { reconcileScenarios } from './reconcile-scenarios.ts';
import { livePorts, type ReconcileWorld, reconcileLimits, reconcileWorld } from './reconcile-world.ts';

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
): Watched {
  if (scenario === undefined) throw new Error('no scenario');
  const world = reconcileWorld(scenario);
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
