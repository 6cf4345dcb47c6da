import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { findEngineSocket } from 'felhom-controller/engine/engine-socket.ts';
import { openStackEngine, type StackEngineApi } from 'felhom-controller/engine/stack-engine-api.ts';
import { firstContainers } from 'felhom-controller/upgrade/look.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { must, run } from '../lab/process.ts';

/*
 * Whether a stack has changed is told by the hash that Compose wrote on its containers: one that is worked out in another
 * way than Compose does it makes every look at such a stack find a change that nobody made.
 */

const name = `felhomhash${process.pid}`;
const base = { image: 'felhom/busybox:test', command: ['sleep', '60'], network_mode: 'none', stop_grace_period: '0s' };
let engine: StackEngineApi;
let folder: string;

beforeAll(async () => {
  engine = openStackEngine({ socketPath: await findEngineSocket(process.env), commands: systemCommands });
  folder = await mkdtemp('/var/tmp/felhom-hash-');
});
afterAll(async () => {
  await run('docker', ['compose', '-p', name, 'down', '--timeout', '0', '--volumes']);
  await engine.close();
  await rm(folder, { recursive: true });
});

it('the hashes of a stack are those that Compose wrote on its containers, whoever asks and whatever it lives in', async () => {
  const services = {
    gateway: { ...base, ipc: 'shareable', scale: 2 },
    inside: { ...base, network_mode: 'service:gateway', pid: 'service:gateway', ipc: 'service:gateway' },
    after: { ...base, depends_on: { inside: { condition: 'service_started' } } },
    'odd_one.of-all': { ...base, env_file: ['app.env'], environment: { DOLLAR: 'a$$b', OF: '${OF_ENV}' } },
    at: { ...base, volumes: ['${PWD}/here:/here', '~/felhom-none:/home:ro'], labels: { home: '${HOME}' } },
  };
  await writeFile(join(folder, 'compose.yaml'), JSON.stringify({ services }));
  await writeFile(join(folder, '.env'), 'OF_ENV=file\n');
  await writeFile(join(folder, 'app.env'), 'SECRET=abc$$def\n');
  const up = ['compose', '-p', name, '-f', join(folder, 'compose.yaml'), 'up', '--detach'];
  await must('docker', up, { cwd: folder, env: { ...process.env, PWD: folder } });
  const containers = (await engine.list()).filter(({ project }) => project === name);
  const files = { project: name, composeFiles: [join(folder, 'compose.yaml')], envFiles: [], workingDir: folder };
  process.env['OF_ENV'] = 'of the shell of whoever asks';
  const config = await engine.composeConfig(files, { containers: firstContainers(containers) });
  delete process.env['OF_ENV'];
  const told = new Map(config.services.map((service) => [service.name, service.hash]));
  expect(containers).toHaveLength(6);
  for (const { service, configHash } of containers)
    expect([service, told.get(service ?? '')]).toEqual([service, configHash]);
});
