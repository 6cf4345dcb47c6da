import { describe, expect, it } from 'vitest';
import type { Actual, ActualGuest, Desired, DesiredGuest, Options, PlanOptions } from './model.ts';
import { planGuests } from './plan.ts';

const nowMs = Date.UTC(2026, 10, 20, 12);
const options: PlanOptions = {
  allowStops: null,
  allowMemoryBelowUse: false,
  openJobs: new Map(),
  nowMs,
  stuckAfterMs: 3_600_000,
};

function declared(vmid: number, change: Partial<DesiredGuest> = {}): DesiredGuest {
  return { vmid, source: `guests.d/${vmid}.yaml`, held: null, state: null, fields: {}, ...change };
}

function guest(vmid: number, change: Partial<ActualGuest> = {}, live: Options = {}): ActualGuest {
  return {
    vmid,
    kind: 'lxc',
    name: `ct${vmid}`,
    running: true,
    lock: null,
    lockedSinceMs: null,
    haManaged: false,
    memoryUsedBytes: 2 ** 28,
    template: false,
    config: { kind: 'read', digest: 'd1', live, pending: live },
    ...change,
  };
}

function desired(...guests: DesiredGuest[]): Desired {
  return { guests, problems: [], version: null };
}

function actual(...guests: ActualGuest[]): Actual {
  return {
    node: 'pve1',
    observedAtMs: nowMs,
    guests: new Map(guests.map((each) => [each.vmid, each])),
    elsewhere: new Map(),
  };
}

const planOne = (want: DesiredGuest, found: ActualGuest, change: Partial<PlanOptions> = {}) =>
  planGuests(desired(want), actual(found), { ...options, ...change }).guests[0];

describe('the plan of a guest', () => {
  it('is empty where everything is as declared', () => {
    const want = declared(101, { state: 'running', fields: { cores: '2', memory: '2048', tags: 'web;db' } });
    const found = guest(101, {}, { cores: '2', memory: '2048', tags: 'db,Web' });
    expect(planOne(want, found)).toMatchObject({ standing: 'in_sync', reason: null, actions: [] });
  });

  it('writes only what differs, and then starts', () => {
    const want = declared(101, { state: 'running', fields: { cores: '4', memory: '2048', description: 'a\nb' } });
    const found = guest(101, { running: false }, { cores: '2', memory: '2048', description: 'old\n' });
    expect(planOne(want, found)).toMatchObject({
      standing: 'drift',
      actions: [
        {
          kind: 'configure',
          digest: 'd1',
          changes: [
            { field: 'cores', from: '2', to: '4', write: { set: ['cores', 4] }, effect: 'live' },
            { field: 'description', from: 'old', to: 'a\nb', write: { set: ['description', 'a\nb'] } },
          ],
        },
        { kind: 'start', vmid: 101, guestKind: 'lxc' },
      ],
    });
  });

  it('defers under a lock and under a backup, but only where something is to be done', () => {
    const want = declared(101, { state: 'stopped' });
    const locked = { lock: 'backup', lockedSinceMs: nowMs - 90_000 };
    expect(planOne(want, guest(101, locked))).toMatchObject({
      standing: 'deferred',
      reason: 'PVE has locked it (backup), for 1 min 30 s now',
      actions: [],
    });
    expect(planOne(want, guest(101, { ...locked, running: false }))).toMatchObject({ standing: 'in_sync' });
    expect(planOne(want, guest(101), { openJobs: new Map([[101, 'j1']]) })).toMatchObject({
      standing: 'deferred',
      reason: 'its backup is under way (job j1)',
    });
  });
});
