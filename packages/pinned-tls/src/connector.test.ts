import type { AddressInfo } from 'node:net';
import { createServer as createPlainServer } from 'node:net';
import { createServer, type TLSSocket, type TlsOptions } from 'node:tls';
import { Agent } from 'undici';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { ConnectFailed, type PeerTrust, verifiedConnector } from './connector.ts';
import { makeCertificate, type TestCertificate } from './testing/certificate.ts';

let ours: TestCertificate;
let theirs: TestCertificate;
const open: (() => void | Promise<void>)[] = [];

beforeAll(() => {
  ours = makeCertificate('ours');
  theirs = makeCertificate('theirs');
});
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

interface Peer {
  url: string;
  /** TCP connections, finished handshake or not. */
  attempts: number;
  /** Handshakes that resumed a session. */
  resumed: number;
  /** Application bytes that any client has sent. */
  bytes: number;
}

/** A TLS peer that answers every request with "yes" and closes, and counts what it was sent. */
async function listen({ key, cert }: TestCertificate, more: TlsOptions = {}): Promise<Peer> {
  const peer: Peer = { url: '', attempts: 0, resumed: 0, bytes: 0 };
  const sockets = new Set<TLSSocket>();
  const server = createServer({ key, cert, ...more }, (socket) => {
    sockets.add(socket);
    if (socket.isSessionReused()) peer.resumed += 1;
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      peer.bytes += chunk.length;
      socket.end('HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nyes');
    });
  });
  server.on('connection', () => (peer.attempts += 1));
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  peer.url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return peer;
}

function dispatcher(trust: PeerTrust, timeoutMs = 5_000): Agent {
  const agent = new Agent({ connect: verifiedConnector(trust, timeoutMs) });
  open.push(() => agent.destroy());
  return agent;
}

async function ask(agent: Agent, origin: string): Promise<string> {
  const answer = await agent.request({ origin, path: '/', method: 'GET', headers: { authorization: 'a secret' } });
  return await answer.body.text();
}

async function refusalOf(agent: Agent, origin: string): Promise<ConnectFailed> {
  const error: unknown = await ask(agent, origin).then(
    () => new Error('it was asked'),
    (reason: unknown) => reason,
  );
  if (error instanceof ConnectFailed) return error;
  throw error;
}

const pinned = ({ fingerprint }: TestCertificate): PeerTrust => ({ kind: 'fingerprint', fingerprint });

describe('a pinned certificate', () => {
  it.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'is accepted at every connection over %s, and no session is resumed',
    async (version) => {
      const peer = await listen(ours, { minVersion: version, maxVersion: version });
      const agent = dispatcher(pinned(ours));
      for (let turn = 0; turn < 4; turn += 1) expect(await ask(agent, peer.url)).toBe('yes');
      expect(peer).toMatchObject({ attempts: 4, resumed: 0 });
    },
  );

  it.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'that is another one is refused over %s before one byte is sent, at every connection',
    async (version) => {
      const peer = await listen(theirs, { minVersion: version, maxVersion: version });
      const agent = dispatcher(pinned(ours));
      for (let turn = 0; turn < 3; turn += 1) {
        const refusal = await refusalOf(agent, peer.url);
        expect(refusal).toMatchObject({ identity: true, shown: theirs.fingerprint });
        expect(refusal.message).toContain(theirs.fingerprint);
      }
      expect(peer).toMatchObject({ attempts: 3, bytes: 0 });
    },
  );

  it('decides alone: neither an authority nor the name in it counts', async () => {
    const peer = await listen(ours);
    const byName = peer.url.replace('127.0.0.1', 'localhost');
    expect(await ask(dispatcher(pinned(ours)), byName)).toBe('yes');
  });
});

describe('an authority', () => {
  it('is believed for what it signed, and for nothing else', async () => {
    const trust: PeerTrust = { kind: 'ca', ca: ours.cert };
    expect(await ask(dispatcher(trust), (await listen(ours)).url)).toBe('yes');
    const stranger = await listen(theirs);
    expect(await refusalOf(dispatcher(trust), stranger.url)).toMatchObject({ identity: true, shown: null });
    expect(stranger.bytes).toBe(0);
  });

  it('that is no certificate vouches for nobody', async () => {
    const peer = await listen(ours);
    expect((await refusalOf(dispatcher({ kind: 'ca', ca: 'no certificate' }), peer.url)).identity).toBe(true);
    expect(peer.bytes).toBe(0);
  });

  it('of the system does not know a self-signed certificate, whatever the environment says', async () => {
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    const peer = await listen(ours);
    expect((await refusalOf(dispatcher({ kind: 'system' }), peer.url)).identity).toBe(true);
    expect(peer.bytes).toBe(0);
  });
});

describe('a connection that does not come about', () => {
  it('has words, and is no question of identity', async () => {
    const peer = await listen(ours);
    await open.pop()?.();
    const refusal = await refusalOf(dispatcher(pinned(ours)), peer.url.replace('127.0.0.1', 'localhost'));
    expect(refusal.identity).toBe(false);
    expect(refusal.message).toMatch(/ECONNREFUSED/);
  });

  it('is given up after its time when nobody shakes hands', async () => {
    const silent = createPlainServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    open.push(() => void silent.close());
    const url = `https://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const agent = dispatcher(pinned(ours), 200);
    expect((await refusalOf(agent, url)).identity).toBe(false);
  });
});
