import { connect as connectTcp } from 'node:net';
import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openWorld, type World } from './testing/world.ts';

let world: World;
beforeAll(async () => {
  world = await openWorld({ authDelayMs: 300 });
});
afterAll(() => world.close());

/** What comes back for these bytes until the connection is closed. */
async function raw(head: string[], body = ''): Promise<string> {
  const { hostname, port } = new URL(world.sim.url);
  const text = [
    ...head,
    'Host: x',
    'Connection: close',
    `Authorization: PVEAPIToken=${world.sim.token}`,
    '',
    body,
  ].join('\r\n');
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect({ host: hostname, port: Number(port), rejectUnauthorized: false }, () => socket.write(text));
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
  });
}

const config = '/api2/json/nodes/pve1/lxc/101/config';

describe('the HTTP layer', () => {
  it('refuses a chunked request', async () => {
    const answer = await raw(
      [`PUT ${config} HTTP/1.1`, 'Transfer-Encoding: chunked'],
      'd\r\ndescription=z\r\n0\r\n\r\n',
    );
    expect(answer).toMatch(/^HTTP\/1\.1 501 chunked transfer encoding not supported\r\n/);
  });

  it('takes a body without a content type, and a POST without any body', async () => {
    expect(await raw([`PUT ${config} HTTP/1.1`, 'Content-Length: 13'], 'description=z')).toMatch(
      /^HTTP\/1\.1 200 OK\r\n/,
    );
    expect(await raw(['POST /api2/json/nodes/pve1/lxc/101/status/start HTTP/1.1'])).toMatch(
      /^HTTP\/1\.1 500 CT 101 already running\r\n/,
    );
  });

  it('takes JSON with true and {}, not an empty document, and no other type', async () => {
    const json = 'Content-Type: application/json';
    const path = '/api2/json/nodes/pve1/lxc/101/status/start';
    expect(await raw([`POST ${path} HTTP/1.1`, json, 'Content-Length: 2'], '{}')).toMatch(
      /^HTTP\/1\.1 500 CT 101 already running/,
    );
    expect(await raw([`POST ${path} HTTP/1.1`, json, 'Content-Length: 0'])).toMatch(
      /^HTTP\/1\.1 500 malformed JSON string/,
    );
    expect(await raw([`PUT ${config} HTTP/1.1`, json, 'Content-Length: 15'], '{"onboot":true}')).toMatch(
      /^HTTP\/1\.1 200 OK/,
    );
    expect(await raw([`PUT ${config} HTTP/1.1`, 'Content-Type: text/plain', 'Content-Length: 8'], 'onboot=1')).toMatch(
      /^HTTP\/1\.1 506 /,
    );
  });

  it('takes 1 and 0 for booleans in a form and no words', async () => {
    const answer = await raw([`GET ${config}?current=true HTTP/1.1`]);
    expect(answer).toMatch(/^HTTP\/1\.1 400 Parameter verification failed\.\r\n/);
    expect(answer).toContain(`"errors":{"current":"type check ('boolean') failed - got 'true'"}`);
  });

  it('refuses a parameter that contradicts the path', async () => {
    expect(await raw([`GET ${config}?node=other HTTP/1.1`])).toContain(
      'duplicate parameter (already defined in URI) with conflicting values!',
    );
  });

  it('knows no other format, and does not mind a slash at the end', async () => {
    expect(await raw(['GET /api2/version HTTP/1.1'])).toMatch(/^HTTP\/1\.1 501 no formatter for uri \/, version\r\n/);
    expect(await raw(['GET /api2/json/version/ HTTP/1.1'])).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  });

  it('tells everything with 200 in the other format', async () => {
    const path = '/api2/extjs/nodes/pve1/lxc';
    expect(await raw([`GET ${path}/101/status/current HTTP/1.1`])).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*"success":1/);
    expect(await raw([`GET ${path}/999/config HTTP/1.1`])).toMatch(
      /^HTTP\/1\.1 200 OK\r\n[\s\S]*"success":0,"status":500/,
    );
  });

  it('keeps a connection after success and closes it after an error', async () => {
    expect(
      (await world.api('GET', '/version', {}, { headers: { Connection: 'keep-alive' } })).headers['connection'],
    ).toBe('Keep-Alive');
    expect(
      (await world.api('GET', '/nothing', {}, { headers: { Connection: 'keep-alive' } })).headers['connection'],
    ).toBe('close');
  });

  it('holds a 401 back and sends it empty', async () => {
    const answer = await world.api('GET', '/version', {}, { token: 'root@pam!sim=wrong' });
    expect(answer).toMatchObject({ status: 401, reason: 'Authentication failed!', text: '' });
    expect(answer.headers['content-type']).toBeUndefined();
    expect(answer.elapsedMs).toBeGreaterThan(290);
  });

  it('answers HEAD with 501 and no body', async () => {
    expect(await world.api('HEAD', '/version')).toMatchObject({ status: 501, text: '' });
  });

  it('sends large answers zipped to who takes them', async () => {
    for (const verb of ['stop', 'start', 'stop', 'start', 'stop', 'start']) {
      await world.ended(await world.data<string>('POST', `/nodes/pve1/lxc/101/status/${verb}`));
    }
    const zipped = await world.api('GET', '/nodes/pve1/tasks', {}, { headers: { 'Accept-Encoding': 'gzip' } });
    expect(zipped.headers['content-encoding']).toBe('gzip');
    expect((await world.api('GET', '/nodes/pve1/tasks')).headers['content-encoding']).toBeUndefined();
  });

  it('sends plain HTTP to HTTPS', async () => {
    const { hostname, port } = new URL(world.sim.url);
    const answer = await new Promise<string>((resolve, reject) => {
      let text = '';
      const socket = connectTcp(Number(port), hostname, () =>
        socket.write('GET /x HTTP/1.1\r\nHost: pve1:8006\r\n\r\n'),
      );
      socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
      socket.on('error', reject);
      socket.on('end', () => resolve(text));
    });
    expect(answer).toMatch(/^HTTP\/1\.1 301 Moved Permanently\r\n/);
    expect(answer).toMatch(/Location: https:\/\/pve1:8006\/x\r\n/);
  });
});
