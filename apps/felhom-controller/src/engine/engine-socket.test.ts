import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findEngineSocket } from './engine-socket.ts';

describe('the engine that the docker command would use', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'felhom-docker-config-'));
  });
  afterEach(async () => await rm(folder, { recursive: true }));
  const context = async (name: string, host: string): Promise<void> => {
    const meta = join(folder, 'contexts/meta', createHash('sha256').update(name).digest('hex'));
    await mkdir(meta, { recursive: true });
    await writeFile(join(meta, 'meta.json'), JSON.stringify({ Name: name, Endpoints: { docker: { Host: host } } }));
    await writeFile(join(folder, 'config.json'), JSON.stringify({ currentContext: name }));
  };

  it('is on the default socket where nothing says otherwise', async () => {
    expect(await findEngineSocket({ DOCKER_CONFIG: folder })).toBe('/var/run/docker.sock');
  });

  it('is the one that DOCKER_HOST names, before any context', async () => {
    await context('other', 'unix:///run/other.sock');
    expect(await findEngineSocket({ DOCKER_CONFIG: folder, DOCKER_HOST: 'unix:///tmp/d.sock' })).toBe('/tmp/d.sock');
    expect(await findEngineSocket({ DOCKER_CONFIG: folder })).toBe('/run/other.sock');
    expect(await findEngineSocket({ DOCKER_CONFIG: folder, DOCKER_CONTEXT: 'default' })).toBe('/var/run/docker.sock');
  });

  it.each(['tcp://10.0.0.1:2375', 'ssh://root@host', 'npipe://x', 'unix://'])('is refused at %s', async (host) => {
    await expect(findEngineSocket({ DOCKER_CONFIG: folder, DOCKER_HOST: host })).rejects.toMatchObject({
      code: 'docker_unsupported',
    });
  });

  it('is refused where its context cannot be read', async () => {
    await expect(findEngineSocket({ DOCKER_CONFIG: folder, DOCKER_CONTEXT: 'gone' })).rejects.toMatchObject({
      code: 'docker_unsupported',
      hint: expect.stringContaining('docker context use'),
    });
  });
});
