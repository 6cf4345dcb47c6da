import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Actual, ActualGuest, Desired, DesiredGuest, Options, PlanOptions } from './model.ts';
import { planGuests } from './plan.ts';
import { planDocument } from './plan-document.ts';
import { planText } from './print-plan.ts';

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

describe('what waits for a restart', () => {
  const want = declared(201, { fields: { cores: '4' } });
  const vm = (live: string, pending: string, change: Partial<ActualGuest> = {}): ActualGuest =>
    guest(201, {
      kind: 'qemu',
      config: { kind: 'read', digest: 'd1', live: { cores: live }, pending: { cores: pending } },
      ...change,
    });

  it('is told apart from what is in force, and is no drift', () => {
    expect(planOne(want, vm('2', '4'))).toMatchObject({
      standing: 'in_sync',
      actions: [],
      awaitingRestart: [{ field: 'cores', live: '2', declared: '4' }],
    });
  });

  it('is drift when it would undo what is declared', () => {
    expect(planOne(want, vm('4', '8'))).toMatchObject({
      standing: 'drift',
      actions: [{ changes: [{ field: 'cores', from: '8', to: '4' }] }],
    });
  });

  it('is said of a change to a running VM beforehand, and not of one to a stopped VM', () => {
    expect(planOne(want, vm('2', '2'))).toMatchObject({ actions: [{ changes: [{ effect: 'restart' }] }] });
    expect(planOne(want, vm('2', '2', { running: false }))).toMatchObject({
      actions: [{ changes: [{ effect: 'live' }] }],
    });
  });
});

describe('a guest that is left alone', () => {
  it('is held, and nothing is planned for it', () => {
    const want = declared(101, { state: 'stopped', held: 'migration' });
    expect(planOne(want, guest(101))).toMatchObject({
      standing: 'held',
      reason: 'migration',
      hint: 'felhom-agent guest release 101, or take held out of guests.d/101.yaml',
      actions: [],
    });
  });

  it('is nowhere, or on another node', () => {
    const nobody = { ...actual(), elsewhere: new Map([[102, 'pve2']]) };
    const plan = planGuests(desired(declared(102, { state: 'running' }), declared(101, {})), nobody, options);
    expect(plan.guests).toMatchObject([
      { vmid: 101, standing: 'absent', actions: [] },
      { vmid: 102, standing: 'elsewhere', reason: 'it is on node pve2, whose agent looks after it', actions: [] },
    ]);
  });

  it('has a mistake in its declaration, and the others go on', () => {
    const problems = [
      { source: 'a.yaml', vmid: 101, message: 'a.yaml:1:1: no' },
      { source: 'b.yaml', vmid: 101, message: 'b.yaml:1:1: neither' },
      { source: 'c.yaml', vmid: null, message: 'c.yaml: whose?' },
    ];
    const guests = [declared(101, { state: 'stopped' }), declared(102, { state: 'stopped' })];
    const plan = planGuests({ guests, problems, version: null }, actual(guest(101), guest(102)), options);
    expect(plan).toMatchObject({
      guests: [
        { vmid: 101, standing: 'failed', reason: 'a.yaml:1:1: no; b.yaml:1:1: neither', actions: [] },
        { vmid: 102, standing: 'drift' },
      ],
      problems: [{ source: 'c.yaml', message: 'c.yaml: whose?' }],
      refused: null,
    });
  });

  it('is managed by high availability as far as its run state goes', () => {
    const want = declared(101, { state: 'stopped', fields: { cores: '2' } });
    expect(planOne(want, guest(101, { haManaged: true }, { cores: '2' }))).toMatchObject({
      standing: 'in_sync',
      reason: 'its run state is left to the HA manager of the cluster',
      actions: [],
    });
    expect(planOne(want, guest(101, { haManaged: true }, { cores: '1' }))).toMatchObject({
      standing: 'drift',
      actions: [{ kind: 'configure' }],
    });
  });

  it('is a template, which cannot run', () => {
    const template = { template: true, running: false };
    expect(planOne(declared(101, { state: 'running' }), guest(101, template))).toMatchObject({
      standing: 'failed',
      reason: 'it is a template and cannot run',
      actions: [],
    });
    expect(planOne(declared(101, { state: 'stopped' }), guest(101, template))).toMatchObject({ standing: 'in_sync' });
  });
});

describe('a configuration that cannot be read', () => {
  const want = declared(101, { state: 'running', fields: { cores: '4' } });
  const unreadable = { config: { kind: 'unreadable', why: 'HTTP 500' } } as const;

  it('leaves the run state, and only that is planned', () => {
    expect(planOne(want, guest(101, { ...unreadable, running: false }))).toMatchObject({
      standing: 'drift',
      reason: 'its configuration cannot be read, so only its run state is looked after: HTTP 500',
      actions: [{ kind: 'start' }],
    });
    expect(planOne(want, guest(101, unreadable))).toMatchObject({
      standing: 'failed',
      hint: 'Look at it on the node: pct config 101',
      actions: [],
    });
  });

  it('is not missed where nothing of it is declared', () => {
    expect(planOne(declared(101, { state: 'running' }), guest(101, unreadable))).toMatchObject({ standing: 'in_sync' });
  });

  it('and one that is known not to have changed is in sync', () => {
    expect(planOne(want, guest(101, { config: { kind: 'unchanged' } }))).toMatchObject({
      standing: 'in_sync',
      reason: null,
    });
  });
});

describe('what a guest of its kind cannot have', () => {
  it('fails by itself; the rest of the guest is made as declared', () => {
    const want = declared(201, { fields: { swap: '512', cores: '4' } });
    const vm = guest(201, { kind: 'qemu' }, { cores: '2' });
    expect(planOne(want, vm)).toMatchObject({
      standing: 'drift',
      reason: 'swap: a VM has none',
      hint: 'Correct guests.d/201.yaml.',
      actions: [{ changes: [{ field: 'cores' }] }],
    });
    expect(planOne(want, guest(201, { kind: 'qemu' }, { cores: '4' }))).toMatchObject({
      standing: 'failed',
      actions: [],
    });
  });
});

describe('memory below present use', () => {
  const want = declared(101, { fields: { memory: '1024' } });
  const busy = (change: Partial<ActualGuest> = {}): ActualGuest =>
    guest(101, { memoryUsedBytes: 1.5 * 2 ** 30, ...change }, { memory: '2048' });

  it('is not taken from a running guest without the flag', () => {
    expect(planOne(want, busy())).toMatchObject({
      standing: 'deferred',
      reason: 'memory: 1 GiB is below what it uses now (1.5 GiB); it keeps 2 GiB',
      hint: 'Free memory in the guest, or allow it with --allow-memory-below-use.',
      actions: [],
    });
    expect(planOne(want, busy(), { allowMemoryBelowUse: true })).toMatchObject({ standing: 'drift' });
    expect(planOne(want, busy({ running: false }))).toMatchObject({ standing: 'drift' });
  });

  it('nor where nobody can say how much it uses', () => {
    expect(planOne(want, busy({ memoryUsedBytes: null }))).toMatchObject({ standing: 'deferred', actions: [] });
  });

  it('keeps nothing else from being done', () => {
    const more = declared(101, { fields: { memory: '1024', cores: '1' } });
    expect(planOne(more, busy())).toMatchObject({ standing: 'drift', actions: [{ changes: [{ field: 'cores' }] }] });
  });

  it('does not stand in the way of more memory', () => {
    const full = guest(101, { memoryUsedBytes: 2 ** 32 }, { memory: '512' });
    expect(planOne(want, full)).toMatchObject({ standing: 'drift' });
  });
});

describe('a lock', () => {
  it('that is old is called stuck, with the command that removes it', () => {
    const vm = guest(201, { kind: 'qemu', lock: 'snapshot-delete', lockedSinceMs: nowMs - 7_200_000 });
    expect(planOne(declared(201, { state: 'stopped' }), vm)).toMatchObject({
      standing: 'deferred',
      reason: 'stuck: PVE has locked it (snapshot-delete), for 2 h 0 min now',
      hint: 'If no task works on it any more, on the node: qm unlock 201',
    });
  });

  it('of unknown age is waited for', () => {
    expect(planOne(declared(101, { state: 'stopped' }), guest(101, { lock: 'backup' }))).toMatchObject({
      standing: 'deferred',
      reason: 'PVE has locked it (backup)',
      hint: null,
    });
  });
});

describe('the blast radius', () => {
  const stopping = (stops: number, others: number, change: Partial<PlanOptions> = {}) => {
    const stopped = Array.from({ length: stops }, (_, index) => declared(101 + index, { state: 'stopped' }));
    const left = Array.from({ length: others }, (_, index) => declared(501 + index, { state: 'running' }));
    const all = [...stopped, ...left];
    return planGuests(desired(...all), actual(...all.map(({ vmid }) => guest(vmid))), { ...options, ...change })
      .refused;
  };

  it('is one guest, whatever is declared, or a quarter of the declared', () => {
    expect(stopping(1, 0)).toBeNull();
    expect(stopping(2, 6)).toBeNull();
    expect(stopping(2, 5)).toEqual({
      reason: 'the plan would stop 2 of 7 declared guests (101, 102); nothing of it is done',
      wouldStop: [101, 102],
      hint: 'If that is meant: --allow-stops 2',
    });
  });

  it('counts those whose stop must wait: once their locks and backups are over they would be stopped all the same', () => {
    const all = [101, 102, 103].map((vmid) => declared(vmid, { state: 'stopped' }));
    const locked = guest(101, { lock: 'backup' });
    const plan = planGuests(desired(...all), actual(locked, guest(102), guest(103)), {
      ...options,
      openJobs: new Map([[102, 'j1']]),
    });
    expect(plan.refused).toMatchObject({ wouldStop: [101, 102, 103] });
  });

  it('does not count those that nobody stops: held, stopped already, left to the HA manager', () => {
    const all = [101, 102, 103, 104].map((vmid) => declared(vmid, { state: 'stopped' }));
    const plan = planGuests(
      desired(...all.map((each) => (each.vmid === 101 ? { ...each, held: 'by a person' } : each))),
      actual(guest(101), guest(102, { running: false }), guest(103, { haManaged: true }), guest(104)),
      options,
    );
    expect(plan).toMatchObject({ refused: null, stops: [104] });
  });

  it('is as large as was allowed, and no larger', () => {
    expect(stopping(3, 0, { allowStops: 3 })).toBeNull();
    expect(stopping(3, 0, { allowStops: 2 })).not.toBeNull();
  });

  it('is measured by the guests that are here', () => {
    const here = [declared(101, { state: 'stopped' }), declared(102, { state: 'stopped' })];
    const far = Array.from({ length: 20 }, (_, index) => declared(501 + index, { state: 'running' }));
    const plan = planGuests(desired(...here, ...far), actual(guest(101), guest(102)), options);
    expect(plan.refused).toMatchObject({ wouldStop: [101, 102] });
  });
});

describe('planning', () => {
  const values = { cores: ['1', '2', 'all'], memory: ['512', '1024'], tags: [null, 'a', 'a;b'], onboot: ['0', '1'] };
  const fields = fc.record(
    Object.fromEntries(Object.entries(values).map(([name, all]) => [name, fc.constantFrom(...all)])),
    { requiredKeys: [] },
  );
  const optionsOf = fc.dictionary(
    fc.constantFrom('cores', 'memory', 'tags', 'onboot', 'name'),
    fc.string({ maxLength: 3 }),
  );
  const anyGuest = fc.record({
    vmid: fc.integer({ min: 100, max: 110 }),
    kind: fc.constantFrom<'lxc' | 'qemu'>('lxc', 'qemu'),
    running: fc.boolean(),
    lock: fc.constantFrom(null, 'backup'),
    lockedSinceMs: fc.constantFrom(null, 0),
    haManaged: fc.boolean(),
    template: fc.boolean(),
    memoryUsedBytes: fc.constantFrom(null, 2 ** 29),
    config: fc.oneof(
      fc.constantFrom(
        { kind: 'unreadable', why: 'x' } as const,
        { kind: 'not-asked' } as const,
        { kind: 'unchanged' } as const,
      ),
      fc.record({ kind: fc.constant('read' as const), digest: fc.string(), live: optionsOf, pending: optionsOf }),
    ),
  });
  const want = fc.record({
    vmid: fc.integer({ min: 100, max: 110 }),
    held: fc.constantFrom(null, 'x'),
    state: fc.constantFrom(null, 'running' as const, 'stopped' as const),
    fields,
  });

  it('has an answer to everything, in the order of the guests, and acts only on what is in drift', () => {
    const unique = { selector: (each: { vmid: number }) => each.vmid, maxLength: 8 };
    fc.assert(
      fc.property(fc.uniqueArray(want, unique), fc.uniqueArray(anyGuest, unique), (wanted, found) => {
        const plan = planGuests(
          desired(...wanted.map((each) => declared(each.vmid, each))),
          actual(...found.map((each) => guest(each.vmid, each))),
          options,
        );
        const vmids = wanted.map((each) => each.vmid).toSorted((a, b) => a - b);
        expect(plan.guests.map((each) => each.vmid)).toEqual(vmids);
        for (const each of plan.guests) {
          expect(each.actions.length > 0).toBe(each.standing === 'drift');
          if (['deferred', 'held', 'failed', 'absent', 'elsewhere'].includes(each.standing))
            expect(each.reason).not.toBeNull();
          for (const action of each.actions)
            if (action.kind === 'configure') expect(action.changes.length).toBeGreaterThan(0);
        }
        expect(planText(plan)).not.toBe('');
        expect(JSON.parse(JSON.stringify(planDocument(plan)))).toEqual(planDocument(plan));
      }),
      { numRuns: 300 },
    );
  });
});
