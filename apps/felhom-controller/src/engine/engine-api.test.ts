import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type EngineApi, openEngineApi } from './engine-api.ts';

let folder: string;
let server: Server;
let engine: EngineApi;
let info: { status: number; body: string };
/** Answers to updates, in their order; the last one goes on. */
let updates: { status: number; body: string }[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-engine-'));
  const socketPath = join(folder, 'docker.sock');
  const version = JSON.stringify({ Version: '26.1', ApiVersion: '1.45', MinAPIVersion: '1.24' });
  server = createServer((request, response) => {
    const isUpdate = request.url?.endsWith('/update') === true;
    const told = isUpdate ? ((updates.length > 1 ? updates.shift() : updates[0]) ?? info) : info;
    const { status, body } = request.url === '/version' ? { status: 200, body: version } : told;
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(body);
  });
  await new Promise<void>((done) => server.listen(socketPath, done));
  engine = openEngineApi({ socketPath, commands: systemCommands });
});
afterEach(async () => {
  await engine.close();
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true });
});

describe('who an engine is', () => {
  it('is its own id', async () => {
    info = { status: 200, body: '{"ID":"7TRN:IPZB"}' };
    expect(await engine.identity()).toMatchObject({ id: '7TRN:IPZB', version: '26.1' });
  });

  it.each([
    { status: 500, body: '{"message":"starting"}' },
    { status: 200, body: '{}' },
    { status: 200, body: '{"ID":""}' },
  ])(
    'is unknown where it tells none, which is no id of its own: two runs would have two locks ($body)',
    async (told) => {
      info = told;
      await expect(engine.identity()).rejects.toMatchObject({ code: 'docker_unreachable' });
    },
  );
});

describe('a restart policy', () => {
  const ending = { status: 500, body: '{"message":"Cannot update container 93ec: container not running"}' };

  it('is changed a moment later where the container ends just now, as in a crash loop', async () => {
    updates = [ending, ending, { status: 200, body: '{}' }];
    expect(await engine.setRestartPolicy('93ec', { name: 'no', retries: 0 })).toBe('updated');
  });

  it('that cannot be changed for another reason is told at once, and one that never ends ending is too', async () => {
    updates = [
      { status: 500, body: '{"message":"no space left on device"}' },
      { status: 200, body: '{}' },
    ];
    await expect(engine.setRestartPolicy('93ec', { name: 'no', retries: 0 })).rejects.toThrow('no space left');
    updates = [ending];
    await expect(engine.setRestartPolicy('93ec', { name: 'no', retries: 0 })).rejects.toThrow('not running');
  });
});
