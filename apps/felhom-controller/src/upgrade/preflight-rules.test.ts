import { describe, expect, it } from 'vitest';
import { container } from '../quiesce/sample-container.ts';
import { judgeGates, type Preflight } from './preflight-rules.ts';

const open: Preflight = {
  plan: {
    stack: 'shop',
    changes: [],
    download: [],
    up: ['app'],
    dropped: [],
    target: { key: 'k', images: [{ service: 'app', ref: 'app:2', id: 'sha256:2' }] },
    unknown: [],
  },
  containers: [container()],
  oneOffs: [],
  serviceLabels: [{}],
  flagFile: null,
  lostImages: [],
  oldFiles: 'known',
  data: { leftOut: [], shared: [], obstacles: [], moved: { left: [], found: [] }, neededBytes: 100, freeBytes: 1_000 },
  unwritable: [],
  minFreeBytes: 900,
};

const closed = (change: Partial<Preflight>, force = false): string[] =>
  judgeGates({ ...open, ...change }, { force }).flatMap(({ name, state }) =>
    state === 'open' ? [] : [`${name} ${state}`],
  );

describe('the gates', () => {
  it('are open where nothing is in the way', () => {
    expect(closed({})).toEqual([]);
  });

  it.each<[string, Partial<Preflight>]>([
    ['blocked', { flagFile: '/etc/felhom/upgrade.blocked' }],
    ['blocked', { serviceLabels: [{ 'felhom.upgrade': 'blocked' }] }],
    ['blocked', { containers: [container({ labels: { 'felhom.upgrade': 'blocked' } })] }],
    ['one_off', { oneOffs: ['shop-app-run-1'] }],
    ['data_writable', { unwritable: ['/data'] }],
    ['space', { data: { ...open.data, freeBytes: 999 } }],
    [
      'image_present',
      {
        plan: {
          ...open.plan,
          changes: [{ service: 'app', kind: 'image', from: null, to: { ref: 'shop-app', id: null }, download: false }],
          target: { key: 'k', images: [{ service: 'app', ref: 'shop-app', id: null }] },
        },
      },
    ],
  ])('%s is hard: nothing goes past it', (name, change) => {
    expect(closed(change)).toEqual([`${name} closed`]);
    expect(closed(change, true)).toEqual([`${name} closed`]);
  });

  it.each<[string, Partial<Preflight>]>([
    ['old_images', { lostImages: ['shop-app-1'] }],
    ['old_files', { oldFiles: 'unknown' }],
    ['data_moved', { data: { ...open.data, moved: { left: ['shop_old'], found: [] } } }],
    ['data_moved', { data: { ...open.data, moved: { left: [], found: ['shop_new'] } } }],
    ['data_shared', { data: { ...open.data, shared: [{ source: 'data', container: 'other' }] } }],
    ['snapshot_possible', { data: { ...open.data, obstacles: [{ what: 'nfs', why: 'it has options' }] } }],
    ['steady', { containers: [container({ status: 'restarting' })] }],
    ['steady', { containers: [container({ health: { status: 'unhealthy', startLimitMs: 0, startPeriodMs: 0 } })] }],
  ])('%s is soft: --force goes past it, and it says so', (name, change) => {
    expect(closed(change)).toEqual([`${name} closed`]);
    expect(closed(change, true)).toEqual([`${name} forced`]);
  });

  it('say everything that is in the way at once', () => {
    expect(closed({ oldFiles: 'unknown', unwritable: ['/data'] })).toEqual([
      'data_writable closed',
      'old_files closed',
    ]);
  });
});
