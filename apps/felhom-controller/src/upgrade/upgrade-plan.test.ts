import { describe, expect, it } from 'vitest';
import type { ContainerState } from '../engine/engine.ts';
import type { ImageState, ServiceConfig } from '../engine/stack-engine.ts';
import { container } from '../quiesce/sample-container.ts';
import { planUpgrade, type StackLook } from './upgrade-plan.ts';

const service = (name: string, image: string, more: Partial<ServiceConfig> = {}): ServiceConfig => ({
  name,
  image,
  builds: false,
  pullPolicy: null,
  hash: `hash of ${name} on ${image}`,
  profiles: [],
  dependsOn: [],
  livesIn: [],
  labels: {},
  ...more,
});

const image = (id: string, digests: string[] = []): ImageState => ({ id, tags: [], digests, sizeBytes: 1 });

const runs = (name: string, ref: string, id: string, more: Partial<ContainerState> = {}): ContainerState =>
  container({
    name: `shop-${name}-1`,
    service: name,
    image: ref,
    imageId: id,
    configHash: `hash of ${name} on ${ref}`,
    ...more,
  });

function look(given: {
  services: ServiceConfig[];
  containers: ContainerState[];
  images: Record<string, ImageState | null>;
  remote?: StackLook['remote'];
}): StackLook {
  return {
    stack: 'shop',
    files: { project: 'shop', composeFiles: ['/srv/shop/compose.yaml'], envFiles: [], workingDir: '/srv/shop' },
    containers: given.containers,
    oneOffs: [],
    config: { services: given.services },
    comparable: new Map(given.services.map(({ name, hash }) => [name, hash])),
    images: new Map(Object.entries(given.images)),
    remote: given.remote ?? new Map(),
  };
}

describe('the plan of an upgrade', () => {
  it('is empty where what runs is what the files say', () => {
    const seen = look({
      services: [service('app', 'app:1')],
      containers: [runs('app', 'app:1', 'sha256:1')],
      images: { 'app:1': image('sha256:1') },
    });
    expect(planUpgrade(seen)).toMatchObject({ changes: [], download: [], up: ['app'], dropped: [] });
  });

  it('sees another tag, a tag that moved, a definition that changed, and both at once', () => {
    const seen = look({
      services: [
        service('tag', 'app:2'),
        service('moved', 'base'),
        service('defined', 'base', { hash: 'another' }),
        service('both', 'base', { hash: 'another' }),
      ],
      containers: [
        runs('tag', 'app:1', 'sha256:1'),
        runs('moved', 'base', 'sha256:old'),
        runs('defined', 'base', 'sha256:new'),
        runs('both', 'base', 'sha256:old'),
      ],
      images: { 'app:2': image('sha256:2'), base: image('sha256:new') },
    });
    const { changes } = planUpgrade(seen);
    expect(changes.map(({ service: name, kind }) => [name, kind])).toEqual([
      ['tag', 'image'],
      ['moved', 'image'],
      ['defined', 'definition'],
      ['both', 'both'],
    ]);
  });

  it('fetches what is not here, and what the registry has newer, but never what is built or unknown to it', () => {
    const seen = look({
      services: [
        service('missing', 'r/missing:1'),
        service('newer', 'r/newer:1'),
        service('same', 'r/same:1'),
        service('built', 'shop-built', { builds: true }),
        service('silent', 'r/silent:1'),
      ],
      containers: ['missing', 'newer', 'same', 'built', 'silent'].map((name) =>
        runs(name, name === 'built' ? 'shop-built' : `r/${name}:1`, 'sha256:here'),
      ),
      images: {
        'r/missing:1': null,
        'r/newer:1': image('sha256:here', ['r/newer@sha256:a']),
        'r/same:1': image('sha256:here', ['r/same@sha256:b']),
        'shop-built': image('sha256:here'),
        'r/silent:1': image('sha256:here', ['r/silent@sha256:c']),
      },
      remote: new Map([
        ['r/newer:1', { kind: 'digest', digest: 'sha256:later' }],
        ['r/same:1', { kind: 'digest', digest: 'sha256:b' }],
        ['r/silent:1', { kind: 'unknown', why: 'too many requests', hint: 'later' }],
      ]),
    });
    const plan = planUpgrade(seen);
    expect(plan.download).toEqual(['r/missing:1', 'r/newer:1']);
    expect(plan.unknown).toEqual([{ ref: 'r/silent:1', why: 'too many requests', hint: 'later' }]);
  });

  it('is for the same target before and after the download', () => {
    const services = [service('app', 'r/app:1')];
    const containers = [runs('app', 'r/app:1', 'sha256:old')];
    const remote: StackLook['remote'] = new Map([['r/app:1', { kind: 'digest', digest: 'sha256:later' }]]);
    const before = look({
      services,
      containers,
      images: { 'r/app:1': image('sha256:old', ['r/app@sha256:a']) },
      remote,
    });
    const after = look({ services, containers, images: { 'r/app:1': image('sha256:new', ['r/app@sha256:later']) } });
    expect(planUpgrade(after).target.key).toBe(planUpgrade(before).target.key);
  });

  it('brings up what ran, what is new and the tasks these wait for: not what is off, nor what only a profile starts', () => {
    const done = { service: 'migrate', condition: 'service_completed_successfully', restart: false } as const;
    const seen = look({
      services: [
        service('app', 'app:2', { dependsOn: [done] }),
        service('migrate', 'app:2'),
        service('off', 'app:2'),
        service('new', 'app:2'),
        service('debug', 'app:2', { profiles: ['debug'] }),
      ],
      containers: [
        runs('app', 'app:1', 'sha256:1'),
        runs('migrate', 'app:1', 'sha256:1', { status: 'exited' }),
        runs('off', 'app:1', 'sha256:1', { status: 'exited' }),
        runs('gone', 'app:1', 'sha256:1'),
      ],
      images: { 'app:2': image('sha256:2') },
    });
    const plan = planUpgrade(seen);
    expect(plan.up).toEqual(['app', 'migrate', 'new']);
    expect(plan.dropped).toEqual(['gone']);
    expect(plan.changes.find(({ service: name }) => name === 'new')).toMatchObject({ kind: 'new', from: null });
  });
});
