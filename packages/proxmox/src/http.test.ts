import { afterEach, describe, expect, it, vi } from 'vitest';
import { createPveClient, type PveClient, type PveClientOptions } from './client.ts';
import { PveError, type PveFault } from './errors.ts';
import { type Exchange, startTestServer, type TestServer } from './fixtures/tls-server.ts';
import { parseVmid } from './upid.ts';

const ct101 = { vmid: parseVmid(101), kind: 'lxc' } as const;
const token = 'felhom@pve!agent=3f0c7d52-7d1e-4b61-9f7c-secretsecret';
const open: { client: PveClient; server: TestServer }[] = [];

afterEach(async () => {
  for (const { client, server } of open.splice(0)) {
    await client.close();
    await server.stop();
  }
});

async function serve(
  handle: (exchange: Exchange) => void,
  options: Partial<PveClientOptions> = {},
  identity: 'node' | 'impostor' = 'node',
): Promise<{ client: PveClient; server: TestServer }> {
  const server = await startTestServer(handle, identity);
  const tls = { kind: 'fingerprint', fingerprint: server.fingerprint } as const;
  const client = createPveClient({ url: server.url, node: 'pve1', token, tls, ...options });
  open.push({ client, server });
  return { client, server };
}

const version = (exchange: Exchange): void => exchange.json({ version: '9.2.11', release: '9.2' });

async function faultOf(promise: Promise<unknown>): Promise<PveError & { fault: PveFault }> {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof PveError) return error;
  throw new TypeError(`no PveError but ${String(error)}`);
}

describe('identity of the node', () => {
  it('sends the token to the pinned certificate', async () => {
    const seen: (string | undefined)[] = [];
    const { client } = await serve((exchange) => {
      seen.push(exchange.headers.get('authorization'));
      version(exchange);
    });
    expect(await client.nodes.version()).toEqual({ version: '9.2.11', release: '9.2' });
    expect(seen).toEqual([`PVEAPIToken=${token}`]);
  });

  it('takes the fingerprint in either case and without colons', async () => {
    const server = await startTestServer(version);
    const fingerprint = server.fingerprint.replaceAll(':', '').toLowerCase();
    const client = createPveClient({ url: server.url, node: 'pve1', token, tls: { kind: 'fingerprint', fingerprint } });
    open.push({ client, server });
    expect((await client.nodes.version()).release).toBe('9.2');
  });

  it('checks every connection, the second one as the first', async () => {
    const { client, server } = await serve((exchange) => {
      exchange.answer(200, 'OK', '{"data":{"version":"9.2.11"}}', { connection: 'close' });
      exchange.end();
    });
    for (let call = 0; call < 4; call += 1) expect((await client.nodes.version()).version).toBe('9.2.11');
    expect(server.connections()).toBe(4);
  });

  it('refuses another certificate before one byte is sent, at every connection', async () => {
    const pinned = await startTestServer(version);
    const { client, server } = await serve(
      version,
      { tls: { kind: 'fingerprint', fingerprint: pinned.fingerprint } },
      'impostor',
    );
    for (let call = 0; call < 3; call += 1) {
      const error = await faultOf(client.nodes.version());
      expect(error.fault).toEqual({ kind: 'tls-identity' });
      expect(error.exit).toBe(12);
    }
    expect(server.attempts()).toBe(3);
    expect(server.bytesReceived()).toBe(0);
    await pinned.stop();
  });

  it('accepts a certificate of the given authority and refuses every other', async () => {
    const server = await startTestServer(version);
    const trusted = createPveClient({
      url: server.url,
      node: 'pve1',
      token,
      tls: { kind: 'ca', caFile: server.caFile },
    });
    open.push({ client: trusted, server });
    expect((await trusted.nodes.version()).release).toBe('9.2');
    const { client, server: impostor } = await serve(
      version,
      { tls: { kind: 'ca', caFile: server.caFile } },
      'impostor',
    );
    expect((await faultOf(client.nodes.version())).fault.kind).toBe('tls-identity');
    expect(impostor.bytesReceived()).toBe(0);
  });

  it('refuses a self-signed certificate when only the system is asked, even if the environment says otherwise', async () => {
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    const { client, server } = await serve(version, { tls: { kind: 'system' } });
    expect((await faultOf(client.nodes.version())).fault.kind).toBe('tls-identity');
    expect(server.bytesReceived()).toBe(0);
  });

  it('says which option is wrong before it connects', () => {
    const right = { url: 'https://127.0.0.1:8006', node: 'pve1', token, tls: { kind: 'system' } } as const;
    const code = (options: Partial<PveClientOptions>): unknown => {
      try {
        createPveClient({ ...right, ...options });
        return null;
      } catch (error) {
        return error instanceof Error && 'code' in error ? error.code : error;
      }
    };
    expect(code({})).toBe(null);
    expect(code({ url: 'http://127.0.0.1:8006' })).toBe('config_invalid');
    expect(code({ url: 'https://127.0.0.1:8006/api2/json' })).toBe('config_invalid');
    expect(code({ node: '../etc' })).toBe('config_invalid');
    expect(code({ token: 'felhom@pve' })).toBe('config_invalid');
    expect(code({ tls: { kind: 'fingerprint', fingerprint: 'AB:CD' } })).toBe('config_invalid');
    expect(code({ tls: { kind: 'ca', caFile: '/nonexistent/ca.pem' } })).toBe('config_invalid');
  });
});

describe('connections', () => {
  it('keeps one connection for calls in a row', async () => {
    const { client, server } = await serve(version);
    for (let call = 0; call < 25; call += 1) await client.nodes.version();
    expect(server.connections()).toBe(1);
    expect(server.requests).toHaveLength(25);
  });

  it('never sends a call that was given up while every connection was busy', async () => {
    const held: Exchange[] = [];
    const { client, server } = await serve((exchange) => void held.push(exchange));
    const busy = Array.from({ length: 16 }, async () => await client.nodes.version());
    await vi.waitFor(() => expect(server.requests).toHaveLength(16));
    const waiting = new AbortController();
    const late = faultOf(client.guests.start(ct101, { signal: waiting.signal }));
    waiting.abort();
    expect((await late).fault).toEqual({ kind: 'aborted' });
    for (const exchange of held.splice(0)) version(exchange);
    await Promise.all(busy);
    // A later call goes over a connection that the given-up one waited for.
    const next = client.nodes.version();
    await vi.waitFor(() => expect(held).toHaveLength(1));
    for (const exchange of held) version(exchange);
    await next;
    expect(server.requests.filter((line) => line.includes('/status/start'))).toEqual([]);
  });

  it('sends a read once more when the kept connection was closed under it', async () => {
    const { client, server } = await serve((exchange) => {
      if (exchange.connection === 1 && server.requests.length === 2) exchange.destroy();
      else version(exchange);
    });
    await client.nodes.version();
    expect((await client.nodes.version()).release).toBe('9.2');
    expect(server.connections()).toBe(2);
  });

  it('never sends a write twice: its outcome is unknown', async () => {
    const { client, server } = await serve((exchange) => exchange.destroy());
    const error = await faultOf(client.guests.start(ct101));
    expect(error.fault).toEqual({ kind: 'transport', outcome: 'unknown' });
    expect(error.outcomeUnknown).toBe(true);
    expect(server.requests).toHaveLength(1);
  });

  it('tells a node that is not there from one whose answer was lost', async () => {
    const { client, server } = await serve(version);
    await server.stop();
    const error = await faultOf(client.guests.start(ct101));
    expect(error.fault).toEqual({ kind: 'transport', outcome: 'not-sent' });
    expect(error.exit).toBe(10);
    expect(error.message).toContain('nothing was changed');
  });
});

describe('answers', () => {
  it('waits out the delay of a 401 and does not ask again', async () => {
    const { client, server } = await serve((exchange) => {
      setTimeout(() => {
        exchange.answer(401, 'Authentication failed!', '', { connection: 'close' });
        exchange.end();
      }, 300);
    });
    const error = await faultOf(client.nodes.version());
    expect(error.fault).toEqual({ kind: 'auth' });
    expect(error.exit).toBe(12);
    expect(error.text).toBe('Authentication failed!');
    expect(server.requests).toHaveLength(1);
  });

  it.each([
    ['an HTML page', 'text/html', '<!doctype html><html><body>Welcome</body></html>'],
    ['an HTML page that says it is JSON', 'application/json', '<html><body>Welcome</body></html>'],
    ['text', 'text/plain', 'ready'],
    ['JSON of another service', 'application/json', '["data"]'],
    ['data of another shape', 'application/json', '{"data":{"release":7}}'],
    ['truncated JSON', 'application/json', '{"data":{"version":"9.2'],
    ['nothing', 'application/json', ''],
  ])('says of %s that this is not Proxmox VE', async (_, contentType, body) => {
    const { client } = await serve((exchange) => exchange.answer(200, 'OK', body, { 'content-type': contentType }));
    const error = await faultOf(client.nodes.version());
    expect(error.fault).toEqual({ kind: 'misbehaves' });
    expect(error.code).toBe('pve_misbehaves');
  });

  it('says of an HTML error page that this is not Proxmox VE, and of a gateway that the outcome is unknown', async () => {
    const { client } = await serve((exchange) => {
      const status = exchange.path.endsWith('/version') ? 404 : 502;
      exchange.answer(status, 'Nope', '<html></html>', { 'content-type': 'text/html' });
    });
    expect((await faultOf(client.nodes.version())).fault).toEqual({ kind: 'misbehaves' });
    expect((await faultOf(client.nodes.status())).fault).toEqual({ kind: 'transport', outcome: 'unknown' });
  });

  it('does not follow a redirect', async () => {
    const { client, server } = await serve((exchange) =>
      exchange.answer(301, 'Moved Permanently', '', { location: 'https://127.0.0.1:1/' }),
    );
    expect((await faultOf(client.nodes.version())).fault).toEqual({ kind: 'misbehaves' });
    expect(server.requests).toHaveLength(1);
  });

  it('reads no more than the bound of an answer that says its length', async () => {
    const { client } = await serve((exchange) => exchange.answer(200, 'OK', 'x'.repeat(5000)), { maxBodyBytes: 1000 });
    const error = await faultOf(client.nodes.version());
    expect(error.fault).toEqual({ kind: 'misbehaves' });
    expect(error.text).toContain('longer than 1000 bytes');
  });

  it('reads no more than the bound of an answer without end', async () => {
    let sent = 0;
    const { client } = await serve(
      (exchange) => {
        exchange.raw('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n');
        const timer = setInterval(() => {
          sent += 4096;
          exchange.raw(`1000\r\n${'y'.repeat(4096)}\r\n`);
          if (sent > 10_000_000) clearInterval(timer);
        }, 0);
        setTimeout(() => clearInterval(timer), 2_000).unref();
      },
      { maxBodyBytes: 20_000 },
    );
    expect((await faultOf(client.nodes.version())).text).toContain('longer than 20000 bytes');
    expect(sent).toBeLessThan(10_000_000);
  });

  it('gives up on an answer that hangs before its head, in its head and in its body', async () => {
    const { client, server } = await serve(
      (exchange) => {
        if (server.requests.length === 2) exchange.raw('HTTP/1.1 200 OK\r\ncontent-');
        if (server.requests.length === 3) exchange.raw('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"data"');
      },
      { readTimeoutMs: 150 },
    );
    for (let call = 0; call < 3; call += 1) {
      const error = await faultOf(client.nodes.version());
      expect(error.fault).toEqual({ kind: 'transport', outcome: 'unknown' });
      expect(error.text).toBe('no answer within 0.15 s');
    }
    expect(server.requests).toHaveLength(3);
  });

  it('says of a body that breaks off that the outcome is unknown', async () => {
    const { client } = await serve((exchange) => {
      exchange.raw('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"data":"UPID');
      exchange.destroy();
    });
    const error = await faultOf(client.guests.start(ct101));
    expect(error.fault).toEqual({ kind: 'transport', outcome: 'unknown' });
  });

  it('ends at once when the caller ends it', async () => {
    const { client } = await serve(() => undefined);
    const stop = new AbortController();
    const answer = faultOf(client.nodes.version({ signal: stop.signal }));
    stop.abort();
    expect((await answer).fault).toEqual({ kind: 'aborted' });
    expect((await faultOf(client.nodes.version({ signal: stop.signal }))).fault).toEqual({ kind: 'aborted' });
  });

  it('knows that a dead pvedaemon did nothing, and that a broken proxy call may have', async () => {
    const { client, server } = await serve((exchange) => {
      if (server.requests.length === 1) exchange.answer(595, 'Connection refused', '', { connection: 'close' });
      else exchange.answer(596, 'Connection timed out', '', { connection: 'close' });
      exchange.end();
    });
    expect((await faultOf(client.guests.start(ct101))).fault).toEqual({ kind: 'transport', outcome: 'not-sent' });
    expect((await faultOf(client.guests.start(ct101))).fault).toEqual({ kind: 'transport', outcome: 'unknown' });
  });
});

describe('requests', () => {
  it('encodes every name into one segment of the path', async () => {
    const { client, server } = await serve((exchange) => exchange.json({ notes: 'one\ntwo', protected: 1, size: 9 }));
    await client.storage.backup('bk:backup/vzdump-lxc-101-2026_01_02-03_04_05.tar.zst');
    expect(server.requests).toEqual([
      'GET /api2/json/nodes/pve1/storage/bk/content/bk%3Abackup%2Fvzdump-lxc-101-2026_01_02-03_04_05.tar.zst',
    ]);
  });

  it('writes a form with a length, flags as 1 and 0, and text in UTF-8', async () => {
    let seen: Exchange | null = null;
    const { client } = await serve((exchange) => {
      seen = exchange;
      exchange.json(null);
    });
    await client.storage.setNotes('bk:backup/x', 'ünï & =\nzwei');
    expect(seen).toMatchObject({ method: 'PUT', body: 'notes=%C3%BCn%C3%AF+%26+%3D%0Azwei' });
    await client.storage.setProtected('bk:backup/x', true);
    expect(seen).toMatchObject({ body: 'protected=1' });
    await client.guests.setConfig(ct101, {
      digest: 'abc',
      set: { cores: 2, onboot: false },
      remove: ['tags', 'description'],
    });
    expect(seen).toMatchObject({ body: 'cores=2&onboot=0&digest=abc&delete=tags%2Cdescription' });
  });

  it('never shows the token in an error', async () => {
    const { client } = await serve((exchange) =>
      exchange.answer(500, `bad ${exchange.headers.get('authorization')}`, ''),
    );
    const error = await faultOf(client.nodes.version());
    expect(`${error.message} ${error.hint} ${JSON.stringify(error)}`).not.toContain('secretsecret');
  });
});
