import type { DesiredGuest } from 'felhom-agent/reconcile/model.ts';
import type { SimGuest } from './reconcile-node.ts';
import type { ReconcileScenario } from './reconcile-world.ts';

const guest = (vmid: number, more: Partial<SimGuest> = {}): SimGuest => ({
  vmid,
  kind: 'lxc',
  running: false,
  lock: null,
  gone: false,
  config: { cores: '2', memory: '512', startup: 'order=1,down=600' },
  ...more,
});
const declared = (vmid: number, more: Partial<DesiredGuest> = {}): DesiredGuest => ({
  vmid,
  source: `${vmid}.yaml`,
  held: null,
  state: 'running',
  fields: { cores: '4' },
  ...more,
});
/** One guest that is to be changed and started, and how that ends. */
const one = { guests: [guest(101)], desired: [declared(101)], ends: ['101 running cores=4'] };
const both = ['setConfig 101', 'start 101'];

const several = {
  guests: [guest(101), guest(102, { running: true }), guest(103, { kind: 'qemu', running: true })],
  desired: [declared(101), declared(102, { state: 'stopped', fields: {} }), declared(103)],
  ends: ['101 running cores=4', '102 stopped cores=2', '103 running cores=4'],
  effects: ['setConfig 101', 'setConfig 103', 'shutdown 102', 'start 101'],
} satisfies Partial<ReconcileScenario>;

export const reconcileScenarios: readonly ReconcileScenario[] = [
  { ...several, name: 'a container to change and start, one to stop, a VM to change' },
  { ...several, name: 'the same in loops, whose passes end before the work that they begin', loop: 500 },
  { ...several, name: 'the same by two loops at once', loop: 500, agents: 2 },
  {
    ...one,
    name: 'a loop whose call to start is lost and arrives late',
    loop: 5_000,
    plan: { loses: { start: 'late' } },
    effects: both,
  },
  ...(['before', 'after', 'late'] as const).map(
    (loss): ReconcileScenario => ({
      ...one,
      name: `the call to start is lost: ${loss}`,
      plan: { loses: { start: loss } },
      effects: both,
    }),
  ),
  ...(['before', 'after', 'late'] as const).map(
    (loss): ReconcileScenario => ({
      ...one,
      name: `the write is lost: ${loss}`,
      plan: { loses: { setConfig: loss } },
      effects: both,
    }),
  ),
  {
    name: 'the call to stop is lost and arrives late',
    guests: [guest(101, { running: true })],
    desired: [declared(101, { state: 'stopped', fields: {} })],
    plan: { loses: { shutdown: 'late' } },
    ends: ['101 stopped cores=2'],
    effects: ['shutdown 101'],
  },
  {
    name: 'a lock that comes and goes while the write is lost and arrives late',
    ...one,
    plan: {
      loses: { setConfig: 'late' },
      events: [
        { atMs: 2_000, does: ({ guests }) => void Object.assign(guests.get(101) ?? {}, { lock: 'backup' }) },
        { atMs: 15_000, does: ({ guests }) => void Object.assign(guests.get(101) ?? {}, { lock: null }) },
      ],
    },
    effects: both,
  },
  {
    name: 'two agents at once',
    ...one,
    agents: 2,
    effects: both,
  },
  {
    name: 'a backup locks the guest when the pass comes',
    guests: [guest(101, { lock: 'backup' })],
    desired: [declared(101)],
    plan: {
      events: [{ atMs: 20_000, does: ({ guests }) => void Object.assign(guests.get(101) ?? {}, { lock: null }) }],
    },
    ends: ['101 running cores=4'],
    effects: both,
  },
];

/** Where somebody else does the same: how much of it is left to us depends on when we come. */
export const rivalScenarios: readonly ReconcileScenario[] = [
  {
    name: 'a person has just started it when the pass comes',
    guests: [guest(101)],
    desired: [declared(101, { fields: {} })],
    plan: { events: [{ atMs: 12, does: (node) => node.power(101, 'start') }] },
    ends: ['101 running cores=2'],
    effects: [],
  },
  ...[40, 60, 80, 100].map(
    (atMs): ReconcileScenario => ({
      name: `a person starts it ${atMs} ms into the pass, and our call is lost`,
      guests: [guest(101)],
      desired: [declared(101, { fields: {} })],
      plan: { loses: { start: 'before' }, events: [{ atMs, does: (node) => node.power(101, 'start') }] },
      ends: ['101 running cores=2'],
      effects: [],
    }),
  ),
];
