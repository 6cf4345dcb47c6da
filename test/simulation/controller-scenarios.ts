import { Interruption } from '@felhom/cli/signals.ts';
import type { ContainerMount } from 'felhom-controller/engine/engine.ts';
import { proveAndEnd, type Scenario, snapshot, type World } from './controller-world.ts';
import { agentError } from './fake-agent.ts';
import type { ContainerSpec, FakeEngine } from './fake-engine.ts';

const data = (name: string): ContainerMount[] => [
  { kind: 'volume', source: `/volumes/${name}`, destination: '/data', volume: name, writable: true },
];

/** A guest with everything that a stop and a start can get wrong. */
export function mixedGuest(): ContainerSpec[] {
  const shop = { project: 'shop', composeFiles: ['/srv/shop/compose.yaml'], workingDir: '/srv/shop' };
  const needs = (
    service: string,
    condition: 'service_started' | 'service_healthy' | 'service_completed_successfully',
  ) => ({
    service,
    condition,
    restart: false,
  });
  return [
    {
      ...shop,
      name: 'db',
      service: 'db',
      number: 1,
      restartPolicy: 'always',
      mounts: data('db'),
      behaviour: { healthyAfterMs: 400 },
    },
    { ...shop, name: 'migrate', service: 'migrate', number: 1, status: 'exited', restartPolicy: 'no' },
    {
      ...shop,
      name: 'app',
      service: 'app',
      number: 1,
      id: 'a'.repeat(64),
      restartPolicy: 'no',
      mounts: data('app'),
      dependencies: [needs('db', 'service_healthy'), needs('migrate', 'service_completed_successfully')],
    },
    { ...shop, name: 'beside', service: 'beside', number: 1, namespacesOf: ['a'.repeat(64)] },
    { ...shop, name: 'worker-1', service: 'worker', number: 1, dependencies: [needs('db', 'service_started')] },
    { ...shop, name: 'worker-2', service: 'worker', number: 2, status: 'exited', stoppedByHand: true },
    { ...shop, name: 'worker-3', service: 'worker', number: 3, behaviour: { stopMs: 900 } },
    {
      name: 'loop',
      project: 'loop',
      service: 'loop',
      number: 1,
      restartPolicy: 'always',
      status: 'restarting',
      behaviour: { runsForMs: 200, exitCode: 1 },
    },
    { name: 'plain', restartPolicy: 'no', behaviour: { stopMs: 300, stopExitCode: 143 } },
    { name: 'proxy', project: 'proxy', service: 'proxy', number: 1, restartPolicy: 'always' },
    {
      name: 'off',
      project: 'off',
      service: 'off',
      number: 1,
      restartPolicy: 'unless-stopped',
      status: 'exited',
      stoppedByHand: true,
    },
  ];
}

/** Names by what must hold of them at the end. */
export const expected = {
  ran: ['db', 'app', 'beside', 'worker-1', 'worker-3', 'plain'],
  loops: ['loop'],
  kept: ['proxy'],
  off: ['migrate', 'worker-2', 'off'],
} as const;

const few = (): ContainerSpec[] => mixedGuest().filter(({ name }) => name !== 'loop' && name !== 'worker-3');
/** Docker itself leaves restart `no` down when it restarts, paid or not: that is no debt of ours. */
const lasting = (): ContainerSpec[] =>
  few().map((spec) =>
    spec.restartPolicy === 'no' && spec.status !== 'exited' ? { ...spec, restartPolicy: 'unless-stopped' } : spec,
  );
const terminate = (world: World): void => world.stop.abort(new Interruption('SIGTERM'));

/** The Compose file from which the container that lives in the network of `app` is made anew. */
function declareBeside(fake: FakeEngine, holder: string): void {
  const spec = mixedGuest().find(({ name }) => name === 'beside') ?? { name: 'beside' };
  fake.declare('shop', 'beside', () => [{ ...spec, namespacesOf: [holder] }]);
}

/** Both gates, and everything that can happen on the way. */
export const scenarios: Scenario[] = [
  { name: 'hook gate, all goes well', containers: mixedGuest },
  {
    name: 'log gate: the task starts only after quiesced',
    containers: mixedGuest,
    arrange: ({ agent }) => agent.move({ gate: 'log' }),
    host: (world) => {
      world.agent.move({ upid: null });
      world.clock.after(80, () => world.agent.move({ upid: 'UPID:log' }));
      proveAndEnd(world);
    },
  },
  {
    name: 'the gate opens after a queue of ten minutes',
    containers: few,
    arrange: ({ agent, clock }) => {
      agent.move({ phase: 'queued' });
      clock.after(600_000, () => agent.move({ phase: 'ready' }));
    },
  },
  {
    name: 'the agent is down from quiesced on',
    containers: few,
    bounds: { maxQuiesceMs: 120_000, agentSilenceMs: 120_000 },
    host: ({ agent }) => agent.fail('status', () => agentError('unreachable')),
  },
  {
    name: 'the agent restarts while the apps are down',
    containers: few,
    host: (world) => {
      world.agent.fail('status', () => agentError('unreachable'), 7);
      proveAndEnd(world);
    },
  },
  {
    name: 'the job fails before the snapshot',
    containers: few,
    host: ({ agent, clock }) => void clock.after(300, () => agent.move({ phase: 'failed', error: noRoom })),
  },
  {
    name: 'the job fails after the snapshot',
    containers: few,
    host: (world) => {
      world.clock.after(100, () => snapshot(world));
      world.clock.after(9_000, () => world.agent.move({ phase: 'failed', error: noRoom }));
    },
  },
  {
    name: 'suspend mode: the proof comes late',
    containers: few,
    host: (world) => {
      world.agent.move({ mode: 'suspend' });
      world.clock.after(45_000, () => snapshot(world));
      world.clock.after(90_000, () => world.agent.move({ phase: 'done' }));
    },
  },
  {
    name: 'stop mode: the end of the task is the proof',
    containers: few,
    host: (world) => {
      world.agent.move({ mode: 'stop' });
      world.clock.after(20_000, () => {
        world.runningAtSnapshot = world.fake.running();
        world.agent.move({ phase: 'done' });
      });
    },
  },
  {
    name: 'no proof ever comes',
    containers: few,
    bounds: { maxQuiesceMs: 120_000 },
    host: ({ agent, clock }) => void clock.after(150_000, () => agent.move({ phase: 'failed', error: noRoom })),
  },
  {
    name: 'no task ever starts',
    containers: few,
    host: ({ agent }) => agent.move({ upid: null }),
  },
  {
    name: 'the gate closes while the apps are being stopped',
    containers: mixedGuest,
    arrange: ({ agent, clock }) => {
      clock.after(150, () => agent.move({ phase: 'capturing', degraded: 'gate_closed' }));
      clock.after(9_000, () => agent.move({ phase: 'done' }));
    },
  },
  {
    name: 'a stop that docker cannot bring to an end for a minute',
    containers: () =>
      few().map((spec) => (spec.name === 'app' ? { ...spec, behaviour: { hangsForMs: 60_000 } } : spec)),
  },
  {
    name: 'a container that has to be killed at its grace',
    containers: () => few().map((spec) => (spec.name === 'db' ? { ...spec, behaviour: { stopMs: null } } : spec)),
  },
  {
    name: 'a container that its restart policy starts anew every moment, running when it is looked at',
    containers: () => [
      ...few(),
      {
        name: 'loop',
        project: 'loop',
        service: 'loop',
        number: 1,
        restartPolicy: 'always',
        behaviour: { runsForMs: 45, exitCode: 1, stopMs: 400 },
      },
    ],
  },
  {
    name: 'a start that fails twice',
    containers: () => few().map((spec) => (spec.name === 'db' ? { ...spec, behaviour: { startFailures: 2 } } : spec)),
  },
  {
    name: 'a marker that cannot be written',
    containers: few,
    arrange: ({ failures }) => {
      failures.markerWrites = 1;
    },
  },
  {
    name: 'lost answers: every call of the agent is answered only the third time',
    containers: few,
    arrange: ({ agent }) => {
      for (const call of ['start', 'quiesced', 'report'] as const) agent.fail(call, () => agentError('unreachable'), 2);
    },
  },
  {
    name: 'the guest is frozen past the deadline, and thawed',
    containers: few,
    host: (world) => {
      world.freezer.untilMs = world.clock.monotonicMs() + 900_000;
      world.clock.after(200, () => snapshot(world));
      world.clock.after(900_500, () => world.agent.move({ phase: 'done' }));
    },
  },
  {
    name: 'the clock jumps by an hour while the apps are down',
    containers: few,
    host: (world) => {
      world.clock.jump(3_600_000);
      proveAndEnd(world);
    },
  },
  {
    name: 'the docker engine restarts while the apps are down',
    containers: lasting,
    host: (world) => {
      world.clock.after(50, () => world.fake.goDown());
      world.clock.after(8_000, () => world.fake.comeUp());
      proveAndEnd(world);
    },
  },
  {
    name: 'the docker engine restarts while the apps are being stopped',
    containers: lasting,
    arrange: ({ clock, fake }) => {
      clock.after(45, () => fake.goDown());
      clock.after(6_000, () => fake.comeUp());
    },
  },
  {
    name: 'somebody starts a container while the apps are down',
    containers: few,
    host: (world) => {
      world.clock.after(50, () => world.fake.startByHand('app'));
      proveAndEnd(world);
    },
  },
  {
    name: 'the event stream breaks while the apps are down',
    containers: few,
    host: (world) => {
      world.clock.after(50, () => world.fake.breakEvents());
      proveAndEnd(world);
    },
  },
  {
    name: 'SIGTERM before the apps are down',
    containers: mixedGuest,
    arrange: (world) => void world.clock.after(60, () => terminate(world)),
  },
  {
    name: 'SIGTERM while the host makes the snapshot',
    containers: few,
    host: (world) => {
      world.clock.after(20, () => terminate(world));
      proveAndEnd(world);
    },
  },
  {
    name: 'the container of a service is made anew while the apps are down, and another lives in its network',
    containers: few,
    arrange: ({ fake }) => declareBeside(fake, 'b'.repeat(64)),
    host: (world) => {
      world.clock.after(50, () => {
        world.fake.remove('app');
        world.fake.add({
          ...(few().find(({ name }) => name === 'app') ?? { name: 'app' }),
          id: 'b'.repeat(64),
          status: 'created',
        });
      });
      proveAndEnd(world);
    },
  },
  {
    name: 'the container of a service is removed while the apps are down',
    containers: few,
    arrange: ({ fake }) => {
      fake.declare('shop', 'app', () => [
        { ...(few().find(({ name }) => name === 'app') ?? { name: 'app' }), id: 'c'.repeat(64) },
      ]);
      declareBeside(fake, 'c'.repeat(64));
    },
    host: (world) => {
      world.clock.after(50, () => world.fake.remove('app'));
      proveAndEnd(world);
    },
  },
];

const noRoom = { code: 'backup_failed', message: 'no space left on the storage', hint: 'Make room.' };

/** The guest is shut down while its apps are down: by its owner, or by PVE in stop mode. It boots ten seconds later. */
export const shutdown: Scenario = {
  name: 'the guest is shut down while the apps are down',
  containers: few,
  host: (world) => {
    world.clock.after(50, () => {
      world.shutdown.isUnderWay = true;
      terminate(world);
    });
    world.clock.after(400, () => world.agent.move({ phase: 'done' }));
  },
};
