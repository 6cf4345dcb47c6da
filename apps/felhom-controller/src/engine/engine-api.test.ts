import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type EngineApi, openEngineApi } from './engine-api.ts';

describe('who an engine is', () => {
  let folder: string;
  let server: Server;
  let engine: EngineApi;
  let info: { status: number; body: string };
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'felhom-engine-'));
    const socketPath = join(folder, 'docker.sock');
    const version = JSON.stringify({ Version: '26.1', ApiVersion: '1.45', MinAPIVersion: '1.24' });
    server = createServer((request, response) => {
      const { status, body } = request.url === '/version' ? { status: 200, body: version } : info;
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
