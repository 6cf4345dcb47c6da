import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { chooseVersion, EngineHttp } from './engine-http.ts';

describe('the version spoken', () => {
  const version = (ApiVersion: string, MinAPIVersion?: string) => ({
    Version: 'x',
    ApiVersion,
    ...(MinAPIVersion === undefined ? {} : { MinAPIVersion }),
  });

  it('is ours where the engine still speaks it', () => {
    expect(chooseVersion(version('1.41', '1.12'))).toBe('1.41');
    expect(chooseVersion(version('1.50', '1.24'))).toBe('1.41');
  });

  it('is the lowest of an engine that has dropped ours, and the highest of one that is older', () => {
    expect(chooseVersion(version('1.52', '1.44'))).toBe('1.44');
    expect(chooseVersion(version('1.40'))).toBe('1.40');
    expect(chooseVersion(version('1.9'))).toBe('1.9');
  });
});

describe('an engine on a socket', () => {
  let folder: string;
  let socket: string;
  let server: Server | undefined;
  let http: EngineHttp;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'felhom-engine-'));
    socket = join(folder, 'docker.sock');
    http = new EngineHttp(socket);
  });
  afterEach(async () => {
    await http.close();
    server?.closeAllConnections();
    server?.close();
    await rm(folder, { recursive: true });
  });
  const serve = async (answer: (path: string) => { status?: number; body: string } | 'hang'): Promise<string[]> => {
    const paths: string[] = [];
    server = createServer((request, response) => {
      paths.push(request.url ?? '');
      const given = answer(request.url ?? '');
      if (given === 'hang') return;
      response.writeHead(given.status ?? 200, { 'content-type': 'application/json' });
      response.end(given.body);
    });
    await new Promise<void>((done) => server?.listen(socket, done));
    return paths;
  };
  const docker = JSON.stringify({
    Version: '29.0',
    ApiVersion: '1.52',
    MinAPIVersion: '1.44',
    Components: [{ Name: 'Engine' }],
  });

  it('is asked for its version once, and spoken to in it', async () => {
    const paths = await serve((path) => ({ body: path === '/version' ? docker : '{}' }));
    await http.call({ method: 'GET', path: '/info', boundMs: 2_000 });
    await http.call({ method: 'GET', path: '/info', boundMs: 2_000 });
    expect(paths).toEqual(['/version', '/v1.44/info', '/v1.44/info']);
  });

  it('that is podman is refused, with what to do', async () => {
    await serve(() => ({
      body: JSON.stringify({ Version: '4.3', ApiVersion: '1.41', Components: [{ Name: 'Podman Engine' }] }),
    }));
    await expect(http.call({ method: 'GET', path: '/info', boundMs: 2_000 })).rejects.toMatchObject({
      code: 'docker_unsupported',
    });
  });

  it('that is something else is refused', async () => {
    await serve(() => ({ body: '<html>hello</html>' }));
    await expect(http.version(2_000)).rejects.toMatchObject({ code: 'docker_unsupported' });
  });

  it('that is not there is unreachable', async () => {
    await expect(http.version(2_000)).rejects.toMatchObject({
      code: 'docker_unreachable',
      message: expect.stringContaining('ENOENT'),
    });
  });

  it('that hangs is unreachable when the bound passes', async () => {
    await serve((path) => (path === '/version' ? { body: docker } : 'hang'));
    await expect(http.call({ method: 'GET', path: '/info', boundMs: 100 })).rejects.toMatchObject({
      code: 'docker_unreachable',
    });
  });

  it('that was restarted as another version is spoken to in that one', async () => {
    let down = false;
    const paths = await serve((path) => {
      if (down && path !== '/version') return 'hang';
      return { body: path === '/version' ? docker : '{}' };
    });
    await http.call({ method: 'GET', path: '/info', boundMs: 2_000 });
    down = true;
    await expect(http.call({ method: 'GET', path: '/info', boundMs: 50 })).rejects.toMatchObject({
      code: 'docker_unreachable',
    });
    down = false;
    await http.call({ method: 'GET', path: '/info', boundMs: 2_000 });
    expect(paths.filter((path) => path === '/version')).toHaveLength(2);
  });
});
