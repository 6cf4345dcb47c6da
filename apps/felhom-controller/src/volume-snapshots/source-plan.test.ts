import { describe, expect, it } from 'vitest';
import type { ContainerMount } from '../engine/engine.ts';
import type { VolumeState } from '../engine/volume-engine.ts';
import { container } from '../quiesce/sample-container.ts';
import { candidatesOf } from './candidates.ts';
import type { Mount } from './mounts.ts';
import { planSources, type SnapshotPolicy } from './source-plan.ts';

const root: Mount = { device: '8:1', path: '/', type: 'ext4', source: '/dev/sda1', readOnly: false };

const bind = (source: string, writable = true): ContainerMount => ({
  kind: 'bind',
  source,
  destination: source,
  volume: null,
  writable,
});
const volume = (name: string, writable = true): ContainerMount => ({
  kind: 'volume',
  source: `/docker/${name}`,
  destination: `/${name}`,
  volume: name,
  writable,
});

interface Given {
  mounts: ContainerMount[];
  volumes?: VolumeState[];
  /** What is there besides the mounts' own places, which are folders. */
  kinds?: Record<string, 'folder' | 'file' | 'other'>;
  absent?: string[];
  mountTable?: Mount[];
  policy?: Partial<SnapshotPolicy>;
  others?: ReturnType<typeof container>[];
}

function plan({ mounts, volumes = [], kinds = {}, absent = [], mountTable = [], policy = {}, others = [] }: Given) {
  const own = container({ name: 'shop-app-1', project: 'shop', service: 'app', mounts });
  const known = new Map(volumes.map((each) => [each.name, each]));
  const wanted = [
    ...mounts.map(({ source }) => source),
    ...volumes.flatMap(({ mountpoint, options }) => [mountpoint, options['device'] ?? '']),
    ...others.flatMap((each) => each.mounts.map(({ source }) => source)),
    ...(policy.include ?? []),
  ].filter((path) => path.startsWith('/') && !absent.includes(path));
  return planSources({
    stack: 'shop',
    containers: [own, ...others],
    candidates: candidatesOf([own], null, known),
    paths: new Map(wanted.map((path) => [path, { resolved: path, kind: kinds[path] ?? 'folder' }])),
    mounts: [root, ...mountTable],
    projectFolder: '/srv/shop',
    policy: { include: [], exclude: [], ...policy },
    ownFolders: ['/var/lib/felhom'],
  });
}

const local = (name: string, options: Record<string, string> = {}, driver = 'local'): VolumeState => ({
  name,
  driver,
  mountpoint: `/docker/${name}/_data`,
  options,
});

describe('what a snapshot of a stack holds', () => {
  it('are local volumes, and writable folders of the project', () => {
    const { sources, leftOut, obstacles } = plan({
      mounts: [volume('db'), bind('/srv/shop/uploads')],
      volumes: [local('db')],
    });
    expect(sources).toMatchObject([
      { name: '/srv/shop/uploads', kind: 'bind', path: '/srv/shop/uploads', services: ['app'], isMountPoint: false },
      { name: 'db', kind: 'volume', path: '/docker/db/_data' },
    ]);
    expect([leftOut, obstacles]).toEqual([[], []]);
  });

  it('is a folder elsewhere only where configuration names it, or one that it lies in', () => {
    const mounts = [bind('/data/media'), bind('/data/photos/2026')];
    expect(plan({ mounts }).sources).toEqual([]);
    expect(plan({ mounts }).leftOut.map(({ what }) => what)).toEqual(['/data/media', '/data/photos/2026']);
    const named = plan({ mounts, policy: { include: ['/data/photos'] } });
    expect(named.sources.map(({ name }) => name)).toEqual(['/data/photos/2026']);
  });

  it.each([
    ['a read-only mount', { mounts: [bind('/srv/shop/static', false)] }, /read-only/],
    ['a socket', { mounts: [bind('/srv/shop/s')], kinds: { '/srv/shop/s': 'other' as const } }, /socket or a device/],
    ['a single file', { mounts: [bind('/srv/shop/f')], kinds: { '/srv/shop/f': 'file' as const } }, /single file/],
    ['a path of the system', { mounts: [bind('/etc/ssl')], policy: { include: ['/etc/ssl'] } }, /of the system/],
    ['the whole machine', { mounts: [bind('/')], policy: { include: ['/'] } }, /of the system/],
    [
      'what holds our own state',
      { mounts: [bind('/var/lib/felhom/x')], policy: { include: ['/var/lib/felhom'] } },
      /snapshots and state/,
    ],
    [
      'a volume in memory',
      { mounts: [volume('tmp')], volumes: [local('tmp', { type: 'tmpfs', device: 'tmpfs' })] },
      /tmpfs/,
    ],
    [
      'what is left out on purpose',
      { mounts: [volume('cache')], volumes: [local('cache')], policy: { exclude: ['cache'] } },
      /by configuration/,
    ],
  ])('is never %s: it is named instead', (_what, given: Given, why) => {
    const { sources, leftOut, obstacles } = plan(given);
    expect([sources, obstacles]).toEqual([[], []]);
    expect(leftOut).toHaveLength(1);
    expect(leftOut[0]?.why).toMatch(why);
  });

  it('is a folder on another file system only where configuration names it', () => {
    const mountTable = [{ device: '8:2', path: '/srv/shop/media', type: 'xfs', source: '/dev/sdb', readOnly: false }];
    const mounts = [bind('/srv/shop/media')];
    expect(plan({ mounts, mountTable }).leftOut[0]?.why).toMatch(/another file system \(xfs\)/);
    const named = plan({ mounts, mountTable, policy: { include: ['/srv/shop/media'] } });
    expect(named.sources).toMatchObject([{ name: '/srv/shop/media', isMountPoint: true }]);
  });

  it('is the folder that a volume with options binds; what its options fetch from elsewhere is refused', () => {
    const bound = local('bound', { type: 'none', o: 'bind', device: '/data/bound' });
    expect(plan({ mounts: [volume('bound')], volumes: [bound] }).sources).toMatchObject([{ path: '/data/bound' }]);
    const nfs = local('nfs', { type: 'nfs', o: 'addr=10.0.0.1', device: ':/export' });
    const foreign = local('foreign', {}, 'rexray');
    const { sources, obstacles } = plan({ mounts: [volume('nfs'), volume('foreign')], volumes: [nfs, foreign] });
    expect(sources).toEqual([]);
    expect(obstacles.map(({ what }) => what)).toEqual(['nfs', 'foreign']);
  });

  it('is refused where another file system is mounted in it', () => {
    const mountTable = [{ device: '0:50', path: '/srv/shop/up/nas', type: 'nfs4', source: 'nas:/', readOnly: false }];
    const { obstacles } = plan({ mounts: [bind('/srv/shop/up')], mountTable });
    expect(obstacles).toEqual([{ what: '/srv/shop/up', why: expect.stringContaining('/srv/shop/up/nas') }]);
  });

  it('keeps a folder in a folder once', () => {
    const { sources } = plan({ mounts: [bind('/srv/shop/data/deep'), bind('/srv/shop/data')] });
    expect(sources.map(({ name }) => name)).toEqual(['/srv/shop/data']);
  });

  it('leaves out a folder that is not there', () => {
    const { sources, leftOut } = plan({ mounts: [bind('/srv/shop/never')], absent: ['/srv/shop/never'] });
    expect([sources, leftOut]).toEqual([[], []]);
  });
});

describe('a source that others use', () => {
  const mounts = [volume('db'), bind('/srv/shop/up')];
  const volumes = [local('db')];
  const shared = (...own: ContainerMount[]): string[] =>
    plan({ mounts, volumes, others: [container({ name: 'tool', mounts: own })] }).shared.map(({ source }) => source);

  it('is told: by its volume, by its folder, by a folder in it, by a writable folder around it', () => {
    expect(shared(volume('db', false))).toEqual(['db']);
    expect(shared(bind('/srv/shop/up'))).toEqual(['/srv/shop/up']);
    expect(shared(bind('/srv/shop/up/pictures', false))).toEqual(['/srv/shop/up']);
    expect(shared(bind('/srv'))).toEqual(['/srv/shop/up']);
  });

  it('is not what monitoring sees from above, read-only, nor what lies beside', () => {
    expect(shared(bind('/', false))).toEqual([]);
    expect(shared(bind('/srv/shop/upper'), volume('db2'))).toEqual([]);
  });
});
