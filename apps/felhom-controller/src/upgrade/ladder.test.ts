import { Failure } from '@felhom/kernel/failure.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import type { ContainerState } from '../engine/engine.ts';
import { container } from '../quiesce/sample-container.ts';
import { defaultUpgradeBounds } from './bounds.ts';
import { climb, type Expected, type LadderEnd, type LadderOptions } from './ladder.ts';
import type { Probe } from './ports.ts';

/*
 * The ladder on the bounds that it has by default, over a stack of one service of which each second is told: a clock of
 * the test's own.
 */

let ms: number;
let seenAt: (second: number) => ContainerState[];
let answers: (second: number) => string | null;
let unwritable: string[];
const probe: Probe = { kind: 'tcp', host: '127.0.0.1', port: 5432 };

const second = 1_000;
const app = (given: Partial<ContainerState> = {}): ContainerState =>
  container({ name: 'shop-app-1', project: 'shop', service: 'app', imageId: 'sha256:2', ...given });
const expected: Expected = { service: 'app', imageId: 'sha256:2', healthy: true, task: false };
const checked = (status: ContainerState['health']['status'], startPeriodMs = 0) => ({
  health: { status, startPeriodMs, startLimitMs: startPeriodMs + 30 * second },
});

beforeEach(() => {
  ms = 0;
  seenAt = () => [app()];
  answers = () => null;
  unwritable = [];
});

async function climbIt(given: Partial<LadderOptions> = {}): Promise<LadderEnd & { tookS: number; rungsAs: string[] }> {
  const now = (): number => ms / second;
  const end = await climb(
    {
      clock: {
        nowMs: () => ms,
        monotonicMs: () => ms,
        sleep: async (forMs) => {
          ms += forMs;
        },
      },
      engine: { list: async () => seenAt(now()) },
      probe: { ask: async () => answers(now()) },
      files: { unwritable: async () => unwritable },
    },
    {
      stack: 'shop',
      expected: [expected],
      probe: null,
      bounds: defaultUpgradeBounds,
      folders: ['/data'],
      stop: new AbortController().signal,
      ...given,
    },
  );
  return { ...end, tookS: now(), rungsAs: end.rungs.map(({ name, result }) => `${name} ${result}`) };
}

describe('a stack without health checks', () => {
  it('is gated all the same: it runs, is steady for 30 s, and can write', async () => {
    const end = await climbIt();
    expect(end).toMatchObject({ why: null, tookS: 30 });
    expect(end.rungsAs).toEqual([
      'containers passed',
      'health skipped',
      'probe skipped',
      'stable passed',
      'disk passed',
    ]);
  });

  it('that ends after 20 seconds is not healthy', async () => {
    seenAt = (at) => [app(at < 20 ? {} : { status: 'exited', exitCode: 1 })];
    const end = await climbIt();
    expect(end.why).toBe('stable: shop-app-1 is not running (it ended with exit code 1)');
    expect([end.tookS, end.rungsAs.at(-1)]).toEqual([20, 'stable failed']);
  });

  it.each([
    ['has restarted', { startedAt: '2026-11-20T02:00:00Z' }],
    ['has restarted', { restartCount: 1 }],
    ['is restarting', { status: 'restarting' as const }],
    ['is not running', { status: 'exited' as const, exitCode: 0 }],
  ])('that %s in between is not healthy', async (words, then) => {
    seenAt = (at) => [app(at < 29 ? {} : then)];
    expect((await climbIt()).why).toContain(words);
  });

  it('of which a container goes is not healthy', async () => {
    seenAt = (at) => (at < 10 ? [app()] : []);
    expect((await climbIt()).why).toBe('stable: shop-app-1 is gone');
  });

  it('is not waited for where it has ended with an error and nobody will start it again', async () => {
    seenAt = () => [app({ status: 'exited', exitCode: 127 })];
    expect(await climbIt()).toMatchObject({ why: expect.stringContaining('exit code 127'), tookS: 0 });
  });

  it('of another image than was asked for is not what was upgraded to', async () => {
    seenAt = () => [app({ imageId: 'sha256:1' })];
    expect((await climbIt()).why).toContain('has another image');
  });
});

describe('health checks', () => {
  it('may take their start period and their retries, and a minute on top', async () => {
    seenAt = (at) => [app(checked(at < 100 ? 'starting' : 'healthy', 20 * second))];
    expect(await climbIt()).toMatchObject({ why: null, tookS: 130 });
    ms = 0;
    seenAt = (at) => [app(checked(at < 120 ? 'starting' : 'healthy', 20 * second))];
    expect(await climbIt()).toMatchObject({ why: 'health: shop-app-1 is starting', tookS: 110 });
  });

  it('that say unhealthy are believed at once, here and while it is to be steady', async () => {
    seenAt = (at) => [app(checked(at < 5 ? 'starting' : 'unhealthy'))];
    expect(await climbIt()).toMatchObject({ why: 'health: shop-app-1 is unhealthy', tookS: 5 });
    ms = 0;
    seenAt = (at) => [app(checked(at < 5 ? 'healthy' : 'unhealthy'))];
    expect(await climbIt()).toMatchObject({ why: 'stable: shop-app-1 is unhealthy', tookS: 5 });
  });

  it('make it be watched for no less than the longest start period', async () => {
    seenAt = () => [app(checked('healthy', 75 * second))];
    expect(await climbIt()).toMatchObject({ why: null, tookS: 75 });
  });
});

describe('a probe', () => {
  it('is asked until it answers, for a minute', async () => {
    answers = (at) => (at < 50 ? 'connection refused' : null);
    expect(await climbIt({ probe })).toMatchObject({ why: null, tookS: 80 });
    ms = 0;
    answers = () => 'connection refused';
    const end = await climbIt({ probe });
    expect(end).toMatchObject({ why: 'probe: 127.0.0.1:5432: connection refused', tookS: 60 });
    expect(end.rungsAs).toEqual(['containers passed', 'health skipped', 'probe failed']);
  });
});

describe('the rest', () => {
  it('needs data that can be written, with room', async () => {
    unwritable = ['/data'];
    expect((await climbIt()).why).toBe('disk: nothing can be written in /data, or no room is left');
  });

  it('takes a docker that does not answer for unknown, and asks again', async () => {
    seenAt = (at) => {
      if (at >= 5 && at < 25) throw new Failure('docker_unreachable', { message: 'no answer', hint: '' });
      return [app()];
    };
    expect(await climbIt()).toMatchObject({ why: null });
    seenAt = () => {
      throw new Failure('docker_unreachable', { message: 'no answer', hint: '' });
    };
    expect((await climbIt()).why).toBe('containers: docker does not answer');
  });

  it('lets a task end, and a crash loop that was one before be one', async () => {
    seenAt = () => [
      app({ status: 'restarting' }),
      container({ name: 'shop-migrate-1', project: 'shop', service: 'migrate', status: 'exited', exitCode: 0 }),
    ];
    const was = { ...expected, healthy: false };
    const task = { service: 'migrate', imageId: null, healthy: true, task: true };
    expect((await climbIt({ expected: [was, task] })).why).toBeNull();
    expect((await climbIt({ expected: [was, { ...task, task: false }] })).why).toContain('shop-migrate-1');
  });
});
