import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { networkProbe } from './probe.ts';

let server: Server;
let port: number;

beforeAll(async () => {
  server = createServer((request, response) => {
    if (request.url === '/silent') return;
    response.statusCode = request.url === '/broken' ? 503 : 204;
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as AddressInfo).port;
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const http = async (path: string, status = { from: 200, to: 399 }): Promise<string | null> =>
  await networkProbe.ask({ kind: 'http', url: `http://127.0.0.1:${port}${path}`, status }, 300);

describe('a probe by HTTP', () => {
  it('passes on an answer within its range, and on no other', async () => {
    expect(await http('/')).toBeNull();
    expect(await http('/broken')).toBe('it answers 503, expected is 200 to 399');
    expect(await http('/broken', { from: 503, to: 503 })).toBeNull();
  });

  it('does not wait for an answer that never comes', async () => {
    expect(await http('/silent')).toMatch(/time|abort/i);
  });
});

describe('a probe by TCP', () => {
  it('passes where somebody takes the connection, and says what is wrong otherwise', async () => {
    expect(await networkProbe.ask({ kind: 'tcp', host: '127.0.0.1', port }, 300)).toBeNull();
    expect(await networkProbe.ask({ kind: 'tcp', host: '127.0.0.1', port: 1 }, 300)).toContain('ECONNREFUSED');
  });
});
