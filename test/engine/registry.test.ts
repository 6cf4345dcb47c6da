import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { findEngineSocket } from 'felhom-controller/engine/engine-socket.ts';
import { openStackEngine, type StackEngineApi } from 'felhom-controller/engine/stack-engine-api.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { must, type RunEnd, run } from '../lab/process.ts';
import { buildPrograms, controllerProgram } from '../lab/programs.ts';
import { startRegistry, type TestRegistry } from '../lab/registry.ts';
import { quickUpgrades } from '../lab/upgrades.ts';

/*
 * Images from a registry, on the engine that is there: a registry in this process, which serves, changes and fails as
 * it is told. Names and containers are our own, and removed at the end.
 */

const enough = { boundMs: 60_000 };
/** Of this process alone: another run may be at it on the same engine. */
const project = `felhomreg${process.pid}`;
let registry: TestRegistry;
let engine: StackEngineApi;
let layer: Buffer;
let folder: string;

beforeAll(async () => {
  registry = await startRegistry();
  engine = openStackEngine({ socketPath: await findEngineSocket(process.env), commands: systemCommands });
  const id = (await must('docker', ['create', 'felhom/busybox:test'])).trim();
  layer = execFileSync('docker', ['export', id], { maxBuffer: 64 * 1024 * 1024 });
  await must('docker', ['rm', id]);
  folder = await mkdtemp('/var/tmp/felhom-registry-');
});
afterAll(async () => {
  await run('docker', ['compose', '-p', project, 'down', '--timeout', '1', '--volumes']);
  const pins = await run('docker', ['ps', '--all', '--quiet', '--filter', `label=felhom.pin=${project}`]);
  const ids = pins.stdout.split('\n').filter((id) => id !== '');
  if (ids.length > 0) await run('docker', ['rm', '--force', ...ids]);
  const images = await run('docker', ['images', '--quiet', '--filter', `reference=${registry.host}/*`]);
  const names = [...new Set(images.stdout.split('\n').filter((id) => id !== ''))];
  if (names.length > 0) await run('docker', ['rmi', '--force', ...names]);
  await engine.close();
  await registry.close();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(() => registry.order(null));

const forever = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done";

function push(version: string, script = forever): string {
  const config = { Labels: { version }, Cmd: ['sh', '-c', script] };
  return registry.push('app', 'latest', { layer, config: { config } });
}

describe('an image in a registry', () => {
  it('is fetched by its name, and told apart from what the registry has later', async () => {
    const name = `${registry.host}/app:latest`;
    const first = push('first');
    expect(await engine.remoteDigest(name, enough)).toBe(first);
    await engine.pull(name, enough);
    expect((await engine.image(name))?.digests).toEqual([`${registry.host}/app@${first}`]);
    const second = push('second');
    expect(await engine.remoteDigest(name, enough)).toBe(second);
    expect((await engine.image(name))?.digests).toEqual([`${registry.host}/app@${first}`]);
  });

  it.each([
    ['unauthorized', /docker login 127\.0\.0\.1/],
    ['too_many', /limits how much/],
    ['truncated', /registry/],
  ] as const)('that cannot be had (%s) costs nothing: what was here stays', async (fault, hint) => {
    const name = `${registry.host}/app:latest`;
    await engine.pull(name, enough);
    const before = await engine.image(name);
    // A layer of its own each time, or docker would not ask for it.
    const other = Buffer.concat([
      layer.subarray(0, layer.length - 1024),
      Buffer.alloc(512 * fault.length),
      layer.subarray(-1024),
    ]);
    registry.push('app', 'latest', { layer: other, config: { config: { Labels: { version: fault } } } });
    registry.order(fault);
    // Docker begins a layer that ends early again and again, for a minute: the bound is ours.
    await expect(engine.pull(name, { boundMs: 5_000 })).rejects.toMatchObject({
      code: 'image_unavailable',
      hint: expect.stringMatching(hint),
    });
    expect(await engine.image(name)).toEqual(before);
  });

  it('is not there: told as what to check', async () => {
    await expect(engine.pull(`${registry.host}/none:1`, enough)).rejects.toMatchObject({
      code: 'image_unavailable',
      hint: 'Check the name and the tag in the Compose file.',
    });
  });
});

describe('a stack whose image comes from a registry', () => {
  const controller = async (...args: string[]): Promise<RunEnd> =>
    await run(controllerProgram, [...args, '--config', join(folder, 'controller.yaml')], { cwd: '/' });

  beforeAll(async () => {
    await buildPrograms();
    const config = {
      state_dir: join(folder, 'state'),
      run_dir: join(folder, 'run'),
      upgrade: { ...quickUpgrades, pull: '4s' },
    };
    await writeFile(join(folder, 'controller.yaml'), JSON.stringify(config));
    push('one');
    const service = { image: `${registry.host}/app:latest`, network_mode: 'none', restart: 'unless-stopped' };
    await writeFile(join(folder, 'compose.yaml'), JSON.stringify({ services: { app: service } }));
    const up = ['compose', '-p', project, '-f', join(folder, 'compose.yaml'), 'up', '--detach', '--pull', 'always'];
    await must('docker', up, { cwd: folder });
  });

  const version = async (): Promise<string> =>
    (await must('docker', ['inspect', '--format', '{{.Config.Labels.version}}', `${project}-app-1`])).trim();

  it('has nothing to upgrade while the registry has the same', async () => {
    const end = await controller('upgrade', 'check', project, '--json');
    expect(JSON.parse(end.stdout)).toMatchObject({ outcome: 'up_to_date', changes: [] });
  });

  it('becomes what the registry has now', async () => {
    push('two');
    const plan = JSON.parse((await controller('upgrade', 'plan', project, '--json')).stdout);
    expect(plan).toMatchObject({ outcome: 'planned', changes: [{ service: 'app', kind: 'image', download: true }] });
    const end = await controller('upgrade', 'apply', project, '--json');
    expect(JSON.parse(end.stdout)).toMatchObject({ outcome: 'success' });
    expect(await version()).toBe('two');
  });

  it('becomes what its Compose file names by digest', async () => {
    const file = join(folder, 'compose.yaml');
    const before = await readFile(file, 'utf8');
    const digest = registry.push('app', 'latest', {
      layer,
      config: { config: { Labels: { version: 'exact' }, Cmd: ['sh', '-c', forever] } },
    });
    await writeFile(file, before.replace('app:latest', `app@${digest}`));
    const end = await controller('upgrade', 'apply', project, '--json');
    expect(JSON.parse(end.stdout)).toMatchObject({ outcome: 'success' });
    expect(await version()).toBe('exact');
    await writeFile(file, before);
    push('two');
    await controller('upgrade', 'apply', project, '--json');
    expect(await version()).toBe('two');
  });

  it.each([
    ['unauthorized', /docker login 127\.0\.0\.1/],
    ['too_many', /limits how much/],
    ['truncated', /registry/],
  ] as const)(
    'is not touched by an upgrade for which the registry has no image (%s), and says why',
    async (fault, hint) => {
      const standing = async (): Promise<string> => {
        const format = '{{.Id}} {{.Image}} {{.State.StartedAt}} {{.HostConfig.RestartPolicy.Name}}';
        return await must('docker', ['inspect', '--format', format, `${project}-app-1`]);
      };
      const before = await standing();
      const middle = Buffer.alloc(512 * (20 + fault.length));
      const other = Buffer.concat([layer.subarray(0, layer.length - 1024), middle, layer.subarray(-1024)]);
      registry.push('app', 'latest', { layer: other, config: { config: { Labels: { version: `apply-${fault}` } } } });
      registry.order(fault);
      const end = await controller('upgrade', 'apply', project, '--json');
      const { outcome, error } = JSON.parse(end.stdout);
      expect([end.code, outcome, error.code]).toEqual([3, 'failed', 'image_unavailable']);
      expect(error.hint).toMatch(hint);
      expect(await standing()).toBe(before);
      const debts = await readdir(join(folder, 'state/debts')).catch(() => []); // None was ever made.
      expect(debts.filter((name) => name.startsWith('upgrade'))).toEqual([]);
      const check = await controller('upgrade', 'check', project);
      if (fault !== 'truncated') expect(check.stdout).toContain('not everybody has answered');
    },
  );

  it('goes back to what ran, by its id, where the new one ends', async () => {
    push('four', 'sleep 0.3; exit 1');
    const end = await controller('upgrade', 'apply', project, '--json');
    expect(JSON.parse(end.stdout)).toMatchObject({ outcome: 'rolled_back' });
    expect(await version()).toBe('two');
    expect(await readFile(join(folder, 'compose.yaml'), 'utf8')).toContain('app:latest');
    const again = await controller('upgrade', 'apply', project, '--json');
    expect(JSON.parse(again.stdout)).toMatchObject({ error: { code: 'held_back' } });
  });
});
