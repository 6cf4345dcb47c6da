import { describe, expect, it } from 'vitest';
import { graceMs, hasWritableData, parseServiceCommand, planQuiesce, stopOrder, toDebt } from './plan.ts';
import { container } from './sample-container.ts';

const nobody = { policy: { stacks: {} }, ownContainerId: null, owedStacks: new Set<string>() };
const started = (service: string) => ({ service, condition: 'service_started', restart: false }) as const;

describe('the plan of a quiesce', () => {
  it('stops what runs or crashes in a loop, and leaves what is off', () => {
    const plan = planQuiesce({
      ...nobody,
      containers: [
        container({ name: 'up' }),
        container({ name: 'loop', status: 'restarting' }),
        container({ name: 'off', status: 'exited' }),
        container({ name: 'new', status: 'created' }),
      ],
    });
    expect(plan.stop.map(({ name }) => name)).toEqual(['up', 'loop']);
    expect(plan.kept).toEqual([]);
  });

  it('keeps what a label, configuration or our own life keeps, and that spoils no grade', () => {
    const plan = planQuiesce({
      policy: { stacks: { traefik: { quiesce: 'keep' } } },
      ownContainerId: 'id-of-felhom',
      owedStacks: new Set(),
      containers: [
        container({ name: 'labelled', labels: { 'felhom.quiesce': 'keep' } }),
        container({ name: 'edge', project: 'traefik' }),
        container({ name: 'felhom' }),
      ],
    });
    expect(plan.stop).toEqual([]);
    expect(plan.kept.map(({ why }) => why)).toEqual(['keep', 'keep', 'protected']);
    expect([...plan.keptByConfiguration]).toEqual(['id-of-labelled', 'id-of-edge', 'id-of-felhom']);
  });

  it('leaves alone what a stop would lose or a start would run again, names it, and the grade may know', () => {
    const plan = planQuiesce({
      ...nobody,
      owedStacks: new Set(['broken']),
      containers: [
        container({ name: 'paused', status: 'paused' }),
        container({ name: 'once', oneoff: true }),
        container({ name: 'rm', autoRemove: true }),
        container({ name: 'task', swarm: true }),
        container({ name: 'half', project: 'broken' }),
      ],
    });
    expect(plan.stop).toEqual([]);
    expect(plan.kept.map(({ why }) => why)).toEqual(['paused', 'one-off', 'auto-remove', 'swarm', 'owed']);
    expect(plan.keptByConfiguration.size).toBe(0);
  });

  it('keeps the holder of a network in which a kept container lives', () => {
    const plan = planQuiesce({
      ...nobody,
      containers: [
        container({ name: 'vpn' }),
        container({ name: 'inside', labels: { 'felhom.quiesce': 'keep' }, namespacesOf: ['id-of-vpn'] }),
        container({ name: 'other' }),
      ],
    });
    expect(plan.stop.map(({ name }) => name)).toEqual(['other']);
    expect(plan.kept.find(({ container: name }) => name === 'vpn')?.why).toBe('namespace');
  });

  it('stops dependents first: by Compose labels of the same project, every replica, and by shared namespaces', () => {
    const plan = planQuiesce({
      ...nobody,
      containers: [
        container({ name: 'db', project: 'shop', service: 'db' }),
        container({ name: 'web-1', project: 'shop', service: 'web', dependencies: [started('db')] }),
        container({ name: 'web-2', project: 'shop', service: 'web', dependencies: [started('db')] }),
        container({ name: 'beside', namespacesOf: ['id-of-web-1'] }),
        container({ name: 'stranger', project: 'other', service: 'web', dependencies: [started('db')] }),
      ],
    });
    expect(stopOrder(plan)).toEqual([['beside'], ['web-1', 'web-2'], ['db', 'stranger']]);
  });

  it('survives labels that need each other in a circle', () => {
    const plan = planQuiesce({
      ...nobody,
      containers: [
        container({ name: 'a', project: 'p', service: 'a', dependencies: [started('b')] }),
        container({ name: 'b', project: 'p', service: 'b', dependencies: [started('a')] }),
      ],
    });
    expect(stopOrder(plan).flat().toSorted()).toEqual(['a', 'b']);
  });

  it('takes a stack called like a property of every object for what it is', () => {
    const plan = planQuiesce({ ...nobody, containers: [container({ name: 'x', project: 'constructor' })] });
    expect(plan.stop).toHaveLength(1);
  });

  it('runs before_stop where its service runs, and owes after_start to the stack', () => {
    const plan = planQuiesce({
      ...nobody,
      policy: {
        stacks: {
          cloud: { before_stop: 'app: occ maintenance:mode --on', after_start: 'app: occ maintenance:mode --off' },
        },
      },
      containers: [
        container({ name: 'cloud-app-1', project: 'cloud', service: 'app' }),
        container({ name: 'cloud-db-1', project: 'cloud', service: 'db' }),
      ],
    });
    expect(plan.beforeStop).toEqual([
      { stack: 'cloud', service: 'app', command: 'occ maintenance:mode --on', containerId: 'id-of-cloud-app-1' },
    ]);
    expect(plan.afterStart).toEqual([{ stack: 'cloud', service: 'app', command: 'occ maintenance:mode --off' }]);
  });
});

describe('what is known of a container', () => {
  it('a service command needs a service before its first colon', () => {
    expect(parseServiceCommand('app: occ a:b')).toEqual({ service: 'app', command: 'occ a:b' });
    expect(parseServiceCommand('just words')).toBeNull();
    expect(parseServiceCommand('; rm -rf /: x')).toBeNull();
  });

  it('grace is its own, 10 s where it has none, and bounded where it would wait without limit', () => {
    expect(graceMs({ stopTimeoutSeconds: 90 })).toBe(90_000);
    expect(graceMs({ stopTimeoutSeconds: null })).toBe(10_000);
    expect(graceMs({ stopTimeoutSeconds: -1 })).toBe(60_000);
  });

  it('data is a writable volume or folder, and no socket and no part of the system', () => {
    const mount = { kind: 'bind', source: '/srv/data', destination: '/data', volume: null, writable: true } as const;
    expect(hasWritableData(container({ mounts: [mount] }))).toBe(true);
    expect(hasWritableData(container({ mounts: [{ ...mount, writable: false }] }))).toBe(false);
    expect(hasWritableData(container({ mounts: [{ ...mount, source: '/var/run/docker.sock' }] }))).toBe(false);
    expect(hasWritableData(container({ mounts: [{ ...mount, source: '/dev/dri' }] }))).toBe(false);
    expect(hasWritableData(container({ mounts: [{ ...mount, kind: 'tmpfs' }] }))).toBe(false);
  });

  it('a debt names the holder of a shared network by its id', () => {
    const holder = container({ name: 'vpn' });
    const inside = container({ name: 'inside', namespacesOf: ['vpn'] });
    expect(toDebt(inside, [holder, inside], 'run').namespaces_of).toEqual(['id-of-vpn']);
  });
});
