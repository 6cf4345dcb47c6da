import { Failure } from '@felhom/kernel/failure.ts';
import { defaultBounds } from 'felhom-controller/quiesce/bounds.ts';
import type { RunPorts } from 'felhom-controller/quiesce/ports.ts';
import { recover } from 'felhom-controller/quiesce/recover.ts';
import { describe, expect, it } from 'vitest';
import { mixedGuest, scenarios } from './controller-scenarios.ts';
import {
  makeWorld,
  newProcess,
  proveAndEnd,
  type Scenario,
  simulateBackup,
  simulateRecover,
  snapshot,
  type World,
} from './controller-world.ts';
import { agentError } from './fake-agent.ts';

/* What a person is told, and with which exit code: the same world without crashes. */

const plain: Scenario = { name: 'plain', containers: mixedGuest };
const worldOf = (change: Partial<Scenario> = {}): World => makeWorld({ ...plain, ...change });
const without =
  (...names: string[]) =>
  () =>
    mixedGuest().filter(({ name }) => !names.includes(name));
const behaving = (name: string, behaviour: object) => () =>
  mixedGuest().map((spec) => (spec.name === name ? { ...spec, behaviour: { ...spec.behaviour, ...behaviour } } : spec));
const run = async (world: World) => {
  const { end } = await simulateBackup(world, null);
  if (end === null) throw new Error('it died');
  return end;
};
const named = (name: string): World => {
  const scenario = scenarios.find((each) => each.name === name);
  if (scenario === undefined) throw new Error(`no scenario ${name}`);
  return makeWorld(scenario);
};

describe('a backup', () => {
  it('that goes well is app-consistent and exit 0, and tells each stack, what kept running and the timeline', async () => {
    const world = worldOf();
    const { result, exit } = await run(world);
    expect(exit).toBe(0);
    expect(result).toMatchObject({
      schema: 'felhom.backup/1',
      outcome: 'done',
      grade: 'app-consistent',
      grade_reason: null,
      job_id: 'job-1',
      mode: 'snapshot',
      gate: 'hook',
      target: { storage: 'bk', type: 'dir' },
      volid: 'bk:backup/1',
      kept_running: [{ stack: 'proxy', container: 'proxy', why: 'keep' }],
      owed: [],
      error: null,
    });
    expect(result.stacks.map(({ name, containers, clean_stop }) => [name, containers, clean_stop])).toEqual([
      ['shop', 5, true],
      ['loop', 1, true],
      ['plain', 1, true],
    ]);
    expect(
      result.stacks.every(({ downtime_ms }) => downtime_ms !== null && downtime_ms <= (result.downtime_ms ?? 0)),
    ).toBe(true);
    const events = result.timeline.map(({ event, stack }) => (stack === undefined ? event : `${event} ${stack}`));
    for (const event of [
      'ready',
      'stopping shop',
      'stopped shop',
      'quiesced',
      'snapshotted',
      'starting',
      'running shop',
      'done',
    ]) {
      expect(events).toContain(event);
    }
    expect(world.agent.reports).toHaveLength(1);
  });

  it('is down for stop, snapshot and start, and no poll longer', async () => {
    const { result } = await run(worldOf({ containers: without('loop', 'worker-3', 'plain') }));
    // 50 ms for each of two levels of stops, 150 ms to the proof, 20 ms for each start, and the wait for the database's health.
    expect(result.downtime_ms).toBeLessThan(2 * 50 + 150 + 3 * 20 + 400 + 100);
  });

  it('of which the host makes nothing ends with its words, exit 3, and every app runs', async () => {
    const { result, exit } = await run(named('the job fails before the snapshot'));
    expect(exit).toBe(3);
    expect(result).toMatchObject({
      outcome: 'failed',
      grade: null,
      error: { code: 'backup_failed', message: expect.stringContaining('no space left on the storage') },
    });
  });

  it.each([
    ['no proof ever comes', 3, null],
    ['a container that has to be killed at its grace', 5, 'db did not end within its grace and was killed'],
    ['somebody starts a container while the apps are down', 5, 'app was started between the stop and the snapshot'],
    [
      'the event stream breaks while the apps are down',
      5,
      'nobody saw whether something started meanwhile: the connection was cut',
    ],
    ['the gate closes while the apps are being stopped', 5, 'the apps came back before the snapshot was proven'],
    ['a marker that cannot be written', 3, null],
    ['suspend mode: the proof comes late', 0, null],
    ['stop mode: the end of the task is the proof', 0, null],
    ['the guest is frozen past the deadline, and thawed', 0, null],
    ['the clock jumps by an hour while the apps are down', 0, null],
    ['lost answers: every call of the agent is answered only the third time', 0, null],
    ['the agent restarts while the apps are down', 0, null],
    ['SIGTERM before the apps are down', 143, null],
    ['SIGTERM while the host makes the snapshot', 143, null],
  ])('%s: exit %i', async (name, exit, reason) => {
    const end = await run(named(name));
    expect(end.result.error?.message ?? '').not.toContain('internal');
    expect(end.exit).toBe(exit);
    if (reason !== null) expect(end.result.grade_reason).toContain(reason);
  });

  it('writes nothing and stops nothing when its marker cannot be written, and cancels the job', async () => {
    const world = named('a marker that cannot be written');
    const { result } = await run(world);
    expect(result).toMatchObject({ outcome: 'aborted', downtime_ms: null, error: { code: 'state_unwritable' } });
    expect(world.agent.calls).toContain('cancel');
    expect(world.fake.starts('db')).toBe(1);
  });

  it('meets another run: busy, exit 11, nothing touched', async () => {
    const world = worldOf();
    world.lock.holder = { pid: 1, startTime: '1', what: 'backup', runId: 'other', deadlineMs: null };
    await expect(simulateBackup(world, null)).rejects.toMatchObject({ code: 'busy', exit: 11 });
    expect(world.agent.calls).toEqual([]);
  });

  it('waits a moment for a recovery or a pass of reconcile, so that an open gate is not lost to it', async () => {
    const world = worldOf();
    world.lock.holder = { pid: 1, startTime: '1', what: 'recover', runId: null, deadlineMs: null };
    world.clock.after(3_000, () => {
      world.lock.holder = null;
    });
    expect((await run(world)).result).toMatchObject({ outcome: 'done', grade: 'app-consistent' });
    const long = worldOf();
    long.lock.holder = { pid: 1, startTime: '1', what: 'recover', runId: null, deadlineMs: null };
    await expect(simulateBackup(long, null)).rejects.toMatchObject({ code: 'busy' });
    expect(long.fake.starts('db')).toBe(1);
  });

  it('meets an agent that does not answer: exit 10, nothing stopped', async () => {
    const world = worldOf();
    world.agent.fail('start', () => agentError('unreachable'));
    const { exit, result } = await run(world);
    expect(exit).toBe(10);
    expect(result).toMatchObject({ outcome: 'aborted', stacks: [] });
    expect(world.fake.starts('db')).toBe(1);
  });

  it('that was due, but is not any more by the time it asks, ends well: exit 0, nothing stopped, nothing owed', async () => {
    const world = worldOf();
    world.onlyIfDue = true;
    world.agent.fail('start', () => agentError('not_due'));
    const { exit, result } = await run(world);
    expect(exit).toBe(0);
    expect(result).toMatchObject({ outcome: 'not_due', job_id: null, error: null, stacks: [], downtime_ms: null });
    expect(world.fake.starts('db')).toBe(1);
    expect(world.markers.isEmpty()).toBe(true);
  });

  it('brings back what lives in the network of a container that was made anew: it is made anew itself', async () => {
    const world = named(
      'the container of a service is made anew while the apps are down, and another lives in its network',
    );
    const { exit, result } = await run(world);
    expect(result).toMatchObject({ outcome: 'done', grade: 'app-consistent', owed: [] });
    expect(exit).toBe(0);
    expect(world.fake.state('beside')).toMatchObject({ status: 'running', namespacesOf: ['b'.repeat(64)] });
    expect(world.markers.isEmpty()).toBe(true);
  });

  it('says what is to be made anew by hand where Compose knows nothing of it: exit 20', async () => {
    const world = makeWorld({
      name: 'plain containers',
      containers: () => [
        { name: 'holder', id: 'e'.repeat(64), restartPolicy: 'no' },
        { name: 'lodger', namespacesOf: ['e'.repeat(64)] },
      ],
      host: (inner) => {
        inner.fake.remove('holder');
        inner.fake.add({ name: 'holder', id: 'f'.repeat(64) });
        proveAndEnd(inner);
      },
    });
    const { exit, result } = await run(world);
    expect(exit).toBe(20);
    expect(result.owed).toMatchObject([{ container: 'lodger', why: expect.stringContaining('made anew') }]);
  });

  it('is told when an app cannot be brought back: exit 20 whatever else, its name, and the marker stays', async () => {
    const world = worldOf({ containers: behaving('plain', { startFailures: 1_000 }) });
    const { exit, result } = await run(world);
    expect(exit).toBe(20);
    expect(result.owed).toMatchObject([{ stack: 'plain', container: 'plain' }]);
    expect(result.error).toMatchObject({ code: 'apps_down', message: expect.stringContaining('plain/plain') });
    expect(world.fake.state('app')?.status).toBe('running');
    expect(world.markers.isEmpty()).toBe(false);
  });

  it('ends at once where an app cannot be brought back: the archive may take hours, and recovery needs the lock', async () => {
    const hoursMs = 5 * 3_600_000;
    const world = worldOf({
      containers: behaving('plain', { startFailures: 1_000 }),
      host: (inner) => {
        inner.clock.after(150, () => snapshot(inner));
        inner.clock.after(hoursMs, () => inner.agent.move({ phase: 'done', volid: 'bk:backup/1' }));
      },
    });
    const beganMs = world.clock.monotonicMs();
    const { exit, result } = await run(world);
    expect(exit).toBe(20);
    expect(result).toMatchObject({ outcome: 'running', job_id: 'job-1', owed: [{ container: 'plain' }] });
    expect(world.clock.monotonicMs() - beganMs).toBeLessThan(world.bounds.payRetryMs + 60_000);
    expect(world.lock.holder).toBeNull();
    world.fake.behave('plain', { startFailures: 0 });
    expect((await simulateRecover(world)).end).toMatchObject({ outcome: 'settled', started: ['plain'] });
  });

  it('after which an app is not healthy again: exit 3, its name, and the grade stays', async () => {
    const world = worldOf();
    // It was healthy before, and its next life never is.
    await world.clock.pass(500);
    world.fake.behave('db', { healthyAfterMs: 3_600_000 });
    const { exit, result } = await run(world);
    expect(result).toMatchObject({ outcome: 'done', grade: 'app-consistent', error: { code: 'operation_failed' } });
    expect(result.error?.message).toContain('db');
    expect(exit).toBe(3);
  });

  it('goes on without a stack that still owes from an earlier run, and says 20', async () => {
    const world = worldOf({ containers: behaving('plain', { startFailures: 1_000 }) });
    await run(world);
    world.agent.move({ phase: 'ready', upid: null, volid: null });
    const second = await run(world);
    expect(second.exit).toBe(20);
    expect(second.result).toMatchObject({ outcome: 'running', owed: [{ stack: 'plain', container: 'plain' }] });
    expect(second.result.stacks.map(({ name }) => name)).toEqual(['shop', 'loop']);
    expect(world.markers.isEmpty()).toBe(false);
  });

  it('keeps recovery from the lock no longer than minutes while apps of an earlier run are down', async () => {
    const world = worldOf({ containers: behaving('plain', { startFailures: 1_000 }) });
    await run(world);
    world.agent.move({ phase: 'queued', upid: null, volid: null });
    const begunMs = world.clock.monotonicMs();
    expect((await run(world)).exit).toBe(20);
    // Settling takes its time once, and waiting for the gate as long again.
    expect(world.clock.monotonicMs() - begunMs).toBeLessThan(3 * world.bounds.payRetryMs);
  });

  it('that meets a docker which does not answer, with apps still owed by a dead run, says 20', async () => {
    const world = worldOf();
    const { trace } = await simulateBackup(worldOf(), null);
    await simulateBackup(world, { effect: trace.indexOf('agent.quiesced'), when: 'after' });
    world.fake.goDown();
    const { exit, result } = await run(world);
    expect(exit).toBe(20);
    expect(result).toMatchObject({ outcome: 'aborted', error: { code: 'apps_down' } });
    world.fake.comeUp();
    expect((await simulateRecover(world)).end?.outcome).toBe('settled');
  });

  it('runs before_stop and after_start, and a failure of the first costs the grade alone', async () => {
    const world = worldOf();
    world.policy = {
      stacks: { proxy: { quiesce: 'keep' }, shop: { before_stop: 'app: quiet on', after_start: 'app: quiet off' } },
    };
    expect((await run(world)).exit).toBe(0);
    expect(world.fake.commands).toEqual([
      { container: 'app', command: 'quiet on' },
      { container: 'app', command: 'quiet off' },
    ]);
    const failing = worldOf({ containers: behaving('app', { exec: () => ({ exitCode: 9, output: 'no way' }) }) });
    failing.policy = { stacks: { proxy: { quiesce: 'keep' }, shop: { before_stop: 'app: quiet on' } } };
    const end = await run(failing);
    expect(end.exit).toBe(5);
    expect(end.result.grade_reason).toContain('before_stop of shop failed in app: exit code 9 (no way)');
  });

  it('goes on without a sync that hangs for ever, with nothing down meanwhile', async () => {
    const world = worldOf();
    world.syncHangs = true;
    const { exit, result } = await run(world);
    expect(exit).toBe(0);
    expect(result.warnings.join()).toContain('sync -f of the data has not come to its end');
    expect(result.downtime_ms).toBeLessThan(5_000);
  });

  it('cannot stop anything: cancels, exit 3, the apps run', async () => {
    const hangs = { hangsForMs: 120_000 };
    const world = worldOf({
      containers: () =>
        mixedGuest()
          .filter(({ name }) => name === 'plain')
          .map((spec) => ({ ...spec, behaviour: hangs })),
    });
    const { exit, result } = await run(world);
    expect(result.error?.code).toBe('nothing_stopped');
    expect(exit).toBe(3);
    expect(world.agent.calls).toContain('cancel');
    expect(world.fake.state('plain')?.status).toBe('running');
  });

  it('brings the apps back on a disk that has become read-only, and only the marker stays', async () => {
    const world = worldOf();
    world.failures.markerErases = 1;
    const { exit, result } = await run(world);
    expect(exit).toBe(0);
    expect(result.warnings.join()).toContain('the marker could not be updated');
    expect(world.fake.state('app')?.status).toBe('running');
    const starts = world.fake.starts('app');
    expect((await simulateRecover(world)).end).toMatchObject({ outcome: 'settled', exit: 0 });
    expect(world.fake.starts('app')).toBe(starts);
  });
});

describe('recovery', () => {
  const crashed = async (effect: string): Promise<World> => {
    const { trace } = await simulateBackup(worldOf(), null);
    const world = worldOf();
    await simulateBackup(world, { effect: trace.indexOf(effect), when: 'after' });
    await world.clock.pass(5_000);
    return world;
  };

  it('of a marker that nobody can read starts what docker saw end since, and says so: exit 3', async () => {
    const writtenMs = Date.UTC(2026, 10, 20, 1, 0, 0);
    const world = await crashed('agent.quiesced');
    world.markers.damage('unreadable', writtenMs);
    const { end } = await simulateRecover(world);
    expect(end).toMatchObject({ outcome: 'settled', exit: 3, failure: { code: 'state_unreadable' } });
    expect(end?.started).toEqual(expect.arrayContaining(['db', 'app', 'plain']));
    expect(world.fake.state('app')?.status).toBe('running');
    expect((await simulateRecover(world)).end?.outcome).toBe('nothing');
  });

  it('of a marker of a newer version leaves it, says which version, exit 2', async () => {
    const world = await crashed('agent.quiesced');
    world.markers.damage('newer');
    const { end } = await simulateRecover(world);
    expect(end).toMatchObject({ exit: 2, failure: { code: 'state_newer' } });
    expect(world.markers.isEmpty()).toBe(false);
    const backup = await run(world);
    expect(backup).toMatchObject({ exit: 2, result: { outcome: 'aborted', error: { code: 'state_newer' } } });
  });

  it('leaves a live run within its deadline alone', async () => {
    const world = worldOf({ host: () => undefined });
    const backup = simulateBackup(world, null);
    await world.clock.pass(20_000);
    expect((await simulateRecover(world)).end).toMatchObject({ outcome: 'held', exit: 0 });
    expect(world.fake.state('app')?.status).toBe('exited');
    world.agent.move({ phase: 'failed' });
    await world.clock.run(backup);
  });

  it('ends a run that hangs past its deadline, and settles', async () => {
    const world = await crashed('agent.quiesced');
    const hung = {
      pid: 999,
      startTime: '1',
      what: 'backup',
      runId: 'run-100',
      deadlineMs: world.clock.nowMs() + 1_000,
    } as const;
    const killed: number[] = [];
    world.lock.holder = hung;
    world.lock.lives.set(hung.pid, {
      kill: () => {
        killed.push(hung.pid);
        world.lock.holder = null;
      },
      effect: async (_name, work) => await work(),
      effectNow: (_name, work) => work(),
      isDead: () => false,
      died: new Promise(() => undefined),
      trace: [],
      moments: [],
    });
    expect((await simulateRecover(world)).end?.outcome).toBe('held');
    await world.clock.pass(world.bounds.hungHolderMs + 2_000);
    expect((await simulateRecover(world)).end?.outcome).toBe('settled');
    expect(killed).toEqual([hung.pid]);
  });

  it('ends what a dead run has left at work also where a newer version wrote the marker, which tells no deadline', async () => {
    const world = await crashed('agent.quiesced');
    world.markers.damage('newer');
    const { ports } = newProcess(world, null);
    const dead = { pid: 4711, startTime: '1', what: 'backup', runId: null, deadlineMs: null } as const;
    let isAtWork = true;
    const lock: RunPorts['lock'] = {
      ...ports.lock,
      acquire: async (...asked) => (isAtWork ? { kind: 'busy', holder: dead } : await ports.lock.acquire(...asked)),
      endChildren: async () => {
        isAtWork = false;
      },
    };
    const begunMs = world.clock.nowMs();
    const options = { bounds: world.bounds, forgive: null, stop: new AbortController().signal };
    const patience = world.clock.sleep(2 * world.bounds.hungHolderMs).then(() => null);
    const end = await world.clock.run(Promise.race([recover({ ...ports, lock }, options), patience]));
    expect(end?.failure?.code).toBe('state_newer');
    expect(world.clock.nowMs() - begunMs).toBeGreaterThanOrEqual(world.bounds.hungHolderMs);
  });

  it('forgives one stack, pays the others, and knows no other name', async () => {
    const world = await crashed('agent.quiesced');
    expect((await simulateRecover(world, null, 'nobody')).end).toMatchObject({
      outcome: 'failed',
      failure: { code: 'not_found' },
    });
    const { end } = await simulateRecover(world, null, 'plain');
    expect(end).toMatchObject({ outcome: 'settled', forgiven: ['plain'] });
    expect(world.fake.state('plain')?.status).toBe('exited');
    expect(world.fake.state('app')?.status).toBe('running');
    expect(world.markers.isEmpty()).toBe(true);
  });

  it('says 20 while docker does not answer, and settles once it does', async () => {
    const world = await crashed('agent.quiesced');
    world.fake.goDown();
    expect((await simulateRecover(world)).end).toMatchObject({ exit: 20, failure: { code: 'apps_down' } });
    world.fake.comeUp();
    expect((await simulateRecover(world)).end?.outcome).toBe('settled');
  });

  it.each([
    ['with nothing owed says at once that docker does not answer: exit 10', worldOf(), 10, 0],
    ['with apps owed waits for docker, and says so', null, 20, defaultBounds.payRetryMs],
  ])('%s', async (_name, idle, exit, waitsMs) => {
    const world = idle ?? (await crashed('agent.quiesced'));
    const acquire = async (): Promise<never> => {
      throw new Failure('docker_unreachable', { message: 'docker does not answer', hint: 'Look at it.' });
    };
    const { ports } = newProcess(world, null);
    const warnings: string[] = [];
    const beganMs = world.clock.monotonicMs();
    const end = await world.clock.run(
      recover(
        {
          ...ports,
          lock: { ...ports.lock, acquire },
          progress: (event) => void (event.kind === 'warning' && warnings.push(event.text)),
        },
        { bounds: world.bounds, forgive: null, stop: new AbortController().signal },
      ),
    );
    expect(end).toMatchObject({ outcome: 'failed', exit });
    expect(world.clock.monotonicMs() - beganMs).toBeGreaterThanOrEqual(waitsMs);
    if (waitsMs === 0) expect(world.clock.monotonicMs() - beganMs).toBeLessThan(1_000);
    expect(warnings).toEqual(
      waitsMs === 0 ? [] : ['docker does not answer; apps are owed a start, so it is waited for'],
    );
  });

  it('leaves a guest that is shutting down to its next boot', async () => {
    const world = await crashed('agent.quiesced');
    world.shutdown.isUnderWay = true;
    expect((await simulateRecover(world)).end).toMatchObject({ outcome: 'left_to_boot', exit: 0 });
    expect(world.fake.state('app')?.status).toBe('exited');
  });

  it('owes after_start commands as it owes starts', async () => {
    const make = (): World => {
      const world = worldOf();
      world.policy = { stacks: { proxy: { quiesce: 'keep' }, shop: { after_start: 'app: quiet off' } } };
      return world;
    };
    const { trace } = await simulateBackup(make(), null);
    const world = make();
    await simulateBackup(world, { effect: trace.indexOf('agent.quiesced'), when: 'after' });
    await simulateRecover(world);
    expect(world.fake.commands).toEqual([{ container: 'app', command: 'quiet off' }]);
    expect(world.markers.isEmpty()).toBe(true);
  });

  it('reports the dead run as crash-consistent and closes it', async () => {
    const world = await crashed('agent.quiesced');
    await simulateRecover(world);
    expect(world.agent.reports).toMatchObject([{ grade: 'crash-consistent', run_id: 'run-100' }]);
    expect(world.history.get('run-100')?.result?.outcome).toBe('interrupted');
  });
});

describe('the bounds', () => {
  it('have the defaults that the design states', () => {
    expect(defaultBounds).toMatchObject({
      maxQuiesceMs: 10 * 60_000,
      stopMarginMs: 15_000,
      hungHolderMs: 60_000,
      noTaskMs: 30_000,
    });
    expect(defaultBounds.pollSeconds * 3).toBeLessThan(15);
  });
});
