import { describe, expect, it } from 'vitest';
import type { ContainerState, ContainerStatus } from '../engine/engine.ts';
import { debtsFromEngine, findReplacement, judgeDebt } from './debt.ts';
import type { Debt } from './marker.ts';
import { toDebt } from './plan.ts';
import { container } from './sample-container.ts';

const old = '2026-11-20T01:00:00.000000001Z';
const anew = '2026-11-20T01:05:00.000000002Z';
const unknown = { untouched: false, startedByUs: false };
const ours = { untouched: false, startedByUs: true };
const untouched = { untouched: true, startedByUs: false };

function debtOf(change: Partial<Debt> = {}): Debt {
  const state = container({ name: 'app', project: 'shop', service: 'app', number: 1, startedAt: old });
  return { ...toDebt(state, [state], 'run'), ...change };
}

function seen(status: ContainerStatus, change: Partial<ContainerState> = {}): ContainerState {
  return container({ id: debtOf().id, name: 'app', status, startedAt: old, ...change });
}

describe('a debt', () => {
  it('is paid by a running container with another start', () => {
    expect(judgeDebt(debtOf(), seen('running', { startedAt: anew }), unknown).kind).toBe('paid');
  });

  it('is not paid by one that runs with its old start: our stop may still be in flight', () => {
    expect(judgeDebt(debtOf(), seen('running'), unknown).kind).toBe('stop_then_start');
    expect(judgeDebt(debtOf(), seen('running'), ours).kind).toBe('stop_then_start');
    expect(judgeDebt(debtOf(), seen('paused'), unknown).kind).toBe('stop_then_start');
  });

  it('is none where the process itself knows that no stop was sent', () => {
    expect(judgeDebt(debtOf(), seen('running'), untouched)).toEqual({ kind: 'paid', how: 'untouched' });
  });

  it('asks for a start of what is down', () => {
    expect(judgeDebt(debtOf(), seen('exited'), unknown).kind).toBe('start');
    expect(judgeDebt(debtOf(), seen('created'), unknown).kind).toBe('start');
  });

  it('is paid by a task that ran again and succeeded, where the restart policy leaves it at that', () => {
    const ended = seen('exited', { startedAt: anew, exitCode: 0 });
    expect(judgeDebt(debtOf({ restart_policy: 'on-failure' }), ended, ours)).toEqual({ kind: 'paid', how: 'ended' });
    expect(judgeDebt(debtOf({ restart_policy: 'no' }), ended, ours)).toEqual({ kind: 'paid', how: 'ended' });
    expect(judgeDebt(debtOf({ restart_policy: 'always' }), ended, ours).kind).toBe('start');
    expect(judgeDebt(debtOf({ restart_policy: 'no' }), { ...ended, exitCode: 1 }, ours).kind).toBe('start');
  });

  it('of a crash loop is paid only by a start of ours: it changes its start by itself', () => {
    const looping = debtOf({ was: 'restarting', restart_policy: 'always' });
    expect(judgeDebt(looping, seen('running', { startedAt: anew }), unknown).kind).toBe('stop_then_start');
    expect(judgeDebt(looping, seen('restarting', { startedAt: anew }), unknown).kind).toBe('stop_then_start');
    expect(judgeDebt(looping, seen('restarting', { startedAt: anew }), ours).kind).toBe('paid');
    expect(judgeDebt(looping, seen('restarting'), untouched).kind).toBe('paid');
  });

  it('is not paid by a restart policy that was quicker than our stop: the stop may still be in flight', () => {
    const restarted = seen('running', { startedAt: anew, restartCount: 1 });
    expect(judgeDebt(debtOf(), restarted, unknown).kind).toBe('stop_then_start');
    expect(judgeDebt(debtOf(), restarted, ours).kind).toBe('paid');
  });

  it('of an app that ran well is not paid by one that starts and ends over and over', () => {
    expect(judgeDebt(debtOf(), seen('restarting', { startedAt: anew }), ours).kind).toBe('wait');
  });

  it('of a container that is gone asks for what took its place', () => {
    expect(judgeDebt(debtOf(), null, unknown).kind).toBe('replace');
    expect(judgeDebt(debtOf(), container({ id: 'other', status: 'running', startedAt: anew }), unknown).kind).toBe(
      'paid',
    );
    expect(judgeDebt(debtOf(), container({ id: 'other', status: 'created' }), unknown).kind).toBe('start');
  });
});

describe('what took the place of a container', () => {
  const peers = [
    container({ id: 'n1', name: 'shop-app-1', project: 'shop', service: 'app', number: 1 }),
    container({ id: 'n2', name: 'shop-app-2', project: 'shop', service: 'app', number: 2 }),
    container({ id: 'run', name: 'shop-app-run', project: 'shop', service: 'app', number: 1, oneoff: true }),
    container({ id: 'p', name: 'app', project: null }),
  ];

  it('has the same project, service and number', () => {
    expect(findReplacement(debtOf({ number: 2 }), peers, new Set())?.id).toBe('n2');
    expect(findReplacement(debtOf({ number: 3 }), peers, new Set())).toBeNull();
  });

  it('is never a one-off run, nor one that stands for another debt', () => {
    expect(findReplacement(debtOf({ number: 1 }), peers, new Set(['n1']))).toBeNull();
  });

  it('has the same name, for a plain container', () => {
    expect(findReplacement(debtOf({ project: null, service: null, number: null }), peers, new Set())?.id).toBe('p');
  });
});

describe('with a marker that nobody can read', () => {
  it('owed is what ended after it was written, but for tasks that are done and one-off runs', () => {
    const sinceMs = Date.parse('2026-11-20T01:00:00Z');
    const ended = { status: 'exited', finishedAt: '2026-11-20T01:00:05Z', project: 'shop' } as const;
    const containers = [
      container({ ...ended, name: 'db', service: 'db' }),
      container({ ...ended, name: 'migrate', service: 'migrate' }),
      container({ ...ended, name: 'once', service: 'app', oneoff: true }),
      container({ ...ended, name: 'long-off', service: 'off', finishedAt: '2026-11-19T23:00:00Z' }),
      container({
        name: 'app',
        status: 'running',
        project: 'shop',
        service: 'app',
        dependencies: [{ service: 'migrate', condition: 'service_completed_successfully', restart: false }],
      }),
    ];
    const debts = debtsFromEngine(containers, sinceMs, 'run', (each) => toDebt(each, containers, 'run'));
    expect(debts.map(({ name }) => name)).toEqual(['db']);
  });
});
