import { describe, expect, it } from 'vitest';
import type { ContainerState } from '../engine/engine.ts';
import { container } from '../quiesce/sample-container.ts';
import type { DeclaredStack } from './declared.ts';
import { planStarts } from './plan-start.ts';

const shop: DeclaredStack = { name: 'shop', services: null, companions: [] };
const of = (service: string, given: Partial<ContainerState> = {}): ContainerState =>
  container({ name: `shop-${service}-1`, project: 'shop', service, status: 'exited', exitCode: 143, ...given });

function planOf(
  stack: DeclaredStack,
  containers: ContainerState[],
  { untouchable = [], wentDown = [] }: { untouchable?: [string, string][]; wentDown?: string[] } = {},
) {
  const [plan] = planStarts({
    declared: [stack],
    containers,
    untouchable: new Map(untouchable),
    wentDown: new Set(wentDown),
  });
  if (plan === undefined) throw new Error('no plan');
  const { verdict, leftOff } = plan;
  return {
    verdict: verdict.kind === 'start' ? verdict.containers.map(({ name }) => name) : verdict.kind,
    leftOff: leftOff.map(({ why }) => why),
  };
}

describe('a stack that is declared to run', () => {
  it('needs nothing while everything in it runs, crash loops included', () => {
    const containers = [of('db', { status: 'running' }), of('app', { status: 'restarting' })];
    expect(planOf(shop, containers)).toEqual({ verdict: 'runs', leftOff: [] });
  });

  it('is started where it is down, and only where', () => {
    const containers = [of('db'), of('app', { status: 'running' }), of('cache', { exitCode: 137 })];
    expect(planOf(shop, containers).verdict).toEqual(['shop-db-1', 'shop-cache-1']);
  });

  it.each(['no', 'on-failure'] as const)(
    'leaves a finished task with the restart policy %s finished',
    (restartPolicy) => {
      const migrate = of('migrate', { exitCode: 0, restartPolicy });
      expect(planOf(shop, [of('app', { status: 'running' }), migrate])).toEqual({
        verdict: 'runs',
        leftOff: ['it has finished'],
      });
    },
  );

  it('starts what ended well because the guest went down', () => {
    const app = of('app', { exitCode: 0, restartPolicy: 'no' });
    expect(planOf(shop, [app], { wentDown: [app.id] }).verdict).toEqual(['shop-app-1']);
  });

  it('starts what ended well under a policy that would have kept it running', () => {
    expect(planOf(shop, [of('app', { exitCode: 0, restartPolicy: 'always' })]).verdict).toEqual(['shop-app-1']);
  });

  it('starts what failed, whatever its policy', () => {
    expect(planOf(shop, [of('app', { exitCode: 1, restartPolicy: 'no' })]).verdict).toEqual(['shop-app-1']);
  });

  it('starts the services that are named, finished or never started, and no others', () => {
    const stack = { ...shop, services: ['app', 'web'] };
    const containers = [
      of('app', { exitCode: 0, restartPolicy: 'no' }),
      of('web', { status: 'created' }),
      of('worker'),
    ];
    expect(planOf(stack, containers)).toEqual({ verdict: ['shop-app-1', 'shop-web-1'], leftOff: [] });
  });

  it('is never installed: without containers, or without one of a named service', () => {
    expect(planOf(shop, []).verdict).toBe('not_installed');
    expect(planOf(shop, [of('app', { project: 'other' })]).verdict).toBe('not_installed');
    expect(planOf({ ...shop, services: ['app', 'web'] }, [of('app')]).verdict).toBe('not_installed');
  });

  it('leaves off what was never started, what is paused and what docker cannot start', () => {
    const containers = [of('a', { status: 'created' }), of('b', { status: 'paused' }), of('c', { status: 'dead' })];
    expect(planOf(shop, containers)).toEqual({
      verdict: 'runs',
      leftOff: ['it was never started', 'it is paused', 'docker calls it dead'],
    });
  });

  it('takes neither one-off runs nor swarm tasks for its own', () => {
    const containers = [of('app', { status: 'running' }), of('app', { oneoff: true }), of('app', { swarm: true })];
    expect(planOf(shop, containers).verdict).toBe('runs');
  });

  it('is left alone under a marker, an upgrade or a hold', () => {
    expect(planOf(shop, [of('app')], { untouchable: [['shop', 'it is held: by hand']] }).verdict).toBe('left_alone');
  });
});
