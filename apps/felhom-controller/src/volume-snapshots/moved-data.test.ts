import { describe, expect, it } from 'vitest';
import type { ComposeModel } from '../engine/compose-model.ts';
import type { ContainerMount } from '../engine/engine.ts';
import { container } from '../quiesce/sample-container.ts';
import { candidatesOf } from './candidates.ts';
import { movedData } from './moved-data.ts';
import type { PathFact } from './source-plan.ts';

const nameless = '0123456789abcdef'.repeat(4);
const volume = (name: string, destination = '/data', writable = true): ContainerMount => ({
  ...{ kind: 'volume', source: `/docker/${name}`, volume: name },
  ...{ destination, writable },
});
const bind = (source: string): ContainerMount => ({
  ...{ kind: 'bind', source, destination: '/data', volume: null, writable: true },
});

function moved(given: {
  mounts: ContainerMount[];
  services: ComposeModel['services'];
  volumes?: ComposeModel['volumes'];
  there?: string[];
  kinds?: Record<string, PathFact['kind']>;
  others?: ReturnType<typeof container>[];
}) {
  const own = container({ name: 'shop-app-1', project: 'shop', service: 'app', mounts: given.mounts });
  const model: ComposeModel = { services: given.services, volumes: given.volumes, serviceEnvFiles: [] };
  const there = (given.there ?? []).map((name) => ({
    name,
    driver: 'local',
    mountpoint: `/docker/${name}`,
    options: {},
  }));
  const candidates = candidatesOf([own], model, new Map(there.map((each) => [each.name, each])));
  const kinds = Object.entries(given.kinds ?? {}).map(([path, kind]) => [path, { resolved: path, kind }] as const);
  return movedData(
    { stack: 'shop', containers: [own, ...(given.others ?? [])], candidates, paths: new Map(kinds) },
    model,
  );
}

const mounts = (...entries: { type: string; source?: string; target: string }[]) => ({ app: { volumes: entries } });
const named = (key: string) => mounts({ type: 'volume', source: key, target: '/data' });

describe('data that the files of a stack have elsewhere than its containers', () => {
  it('is a volume of another name, and a folder of another path', () => {
    const volumes = { fresh: { name: 'shop_fresh' } };
    expect(moved({ mounts: [volume('shop_old')], services: named('fresh'), volumes }).left).toEqual(['shop_old']);
    const kinds = { '/srv/shop/data': 'folder' } as const;
    const elsewhere = mounts({ type: 'bind', source: '/srv/shop/data2', target: '/data' });
    expect(moved({ mounts: [bind('/srv/shop/data')], services: elsewhere, kinds }).left).toEqual(['/srv/shop/data']);
  });

  it('is not what they name, however it is written, nor what another service takes over', () => {
    const kinds = { '/srv/shop/data': 'folder' } as const;
    const same = mounts({ type: 'bind', source: '/srv/shop/../shop/data/', target: '/data' });
    expect(moved({ mounts: [bind('/srv/shop/data')], services: same, kinds }).left).toEqual([]);
    const web = { web: { volumes: [{ type: 'volume', source: 'old', target: '/var' }] } };
    const volumes = { old: { name: 'shop_old' } };
    expect(moved({ mounts: [volume('shop_old')], services: web, volumes }).left).toEqual([]);
  });

  it('is a volume without a name whose service is gone, or whose place has one now', () => {
    expect(moved({ mounts: [volume(nameless)], services: { web: {} } }).left).toEqual([nameless]);
    expect(moved({ mounts: [volume(nameless)], services: named('fresh') }).left).toEqual([nameless]);
    expect(moved({ mounts: [volume(nameless)], services: mounts({ type: 'volume', target: '/data/' }) }).left).toEqual(
      [],
    );
    expect(moved({ mounts: [volume(nameless)], services: { app: {} } }).left).toEqual([]);
  });

  it('is not that of a service that goes while none comes, which may have another name now', () => {
    const old = [volume('shop_old')];
    expect(moved({ mounts: old, services: {} }).left).toEqual([]);
    expect(moved({ mounts: old, services: { web: {} } }).left).toEqual(['shop_old']);
  });

  it('is no socket, no file, no folder of the system, and nothing that was only read', () => {
    const kinds = { '/run/docker.sock': 'other', '/srv/shop/a.json': 'file', '/etc/ssl': 'folder' } as const;
    const all = [...Object.keys(kinds).map(bind), volume('shop_read', '/read', false)];
    expect(moved({ mounts: all, services: { app: {} }, kinds }).left).toEqual([]);
  });

  it('is a volume of theirs that is there already and that nobody has, unless it is declared to be from elsewhere', () => {
    const given = { mounts: [volume('shop_old')], there: ['shop_old', 'shop_fresh'] };
    const services = mounts(
      { type: 'volume', source: 'old', target: '/data' },
      { type: 'volume', source: 'fresh', target: '/fresh' },
    );
    const volumes = { old: { name: 'shop_old' }, fresh: { name: 'shop_fresh' } };
    expect(moved({ ...given, services, volumes }).found).toEqual(['shop_fresh']);
    const external = { ...volumes, fresh: { name: 'shop_fresh', external: true } };
    expect(moved({ ...given, services, volumes: external }).found).toEqual([]);
    const others = [container({ name: 'other', project: null, mounts: [volume('shop_fresh')] })];
    expect(moved({ ...given, services, volumes, others }).found).toEqual([]);
    expect(moved({ ...given, there: ['shop_old'], services, volumes }).found).toEqual([]);
  });
});
