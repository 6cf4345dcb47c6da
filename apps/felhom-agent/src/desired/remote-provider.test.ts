import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@felhom/kernel/clock.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { makeCertificate, type TestCertificate } from '@felhom/pinned-tls/testing/certificate.ts';
import type { SignerKey } from '@felhom/signed-document/keys.ts';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { documentStore, readKept, unwrittenStore } from './document-store.ts';
import { type DocumentSource, fetchDocument } from './fetch-document.ts';
import { keptDocumentPath } from './kept-document.ts';
import { type RemoteProviderPorts, remoteProvider } from './remote-provider.ts';
import { sampleAgent, sampleDocument, sampleKey, sealed, signerOf, strangerKey } from './sample-document.ts';

const everyMs = 60_000;
const maxBytes = 2 ** 18;
let ours: TestCertificate;
let theirs: TestCertificate;
let state: string;
const open: (() => void)[] = [];

beforeAll(() => {
  ours = makeCertificate('ours');
  theirs = makeCertificate('theirs');
});
beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), 'felhom-declared-'));
});
afterEach(() => {
  for (const close of open.splice(0).toReversed()) close();
  rmSync(state, { recursive: true, force: true });
});

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

interface Server {
  url: string;
  asked: IncomingMessage[];
  /** What it answers from now on. */
  handler: Handler;
  /** Serves an envelope with an ETag, and 304 to whoever knows it. */
  offer(envelope: string, etag?: string): void;
}

async function startServer(certificate = ours): Promise<Server> {
  const started: Server = {
    url: '',
    asked: [],
    handler: (_request, response) => void response.writeHead(404).end(),
    offer: (envelope, etag = `"${createHash('sha256').update(envelope).digest('hex')}"`) => {
      started.handler = (request, response) => {
        if (request.headers['if-none-match'] === etag) return void response.writeHead(304).end();
        response.writeHead(200, { etag, 'content-type': 'application/json' }).end(envelope);
      };
    },
  };
  const server = createServer({ key: certificate.key, cert: certificate.cert }, (request, response) => {
    started.asked.push(request);
    started.handler(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push(() => {
    server.closeAllConnections();
    server.close();
  });
  started.url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/felhom/pve1.json`;
  return started;
}

const rulesFor = (signers: SignerKey[]) => ({ signers, agentId: sampleAgent, maxBytes });

/** An agent whose clock a test moves: `pass` lets the time of one question go by and reads. */
function openAgent(server: Server, source: Partial<DocumentSource> = {}, more: Partial<RemoteProviderPorts> = {}) {
  const time = { nowMs: Date.parse('2026-11-25T00:00:00Z'), monotonicMs: 0 };
  const { url } = server;
  const trust = { kind: 'fingerprint', fingerprint: ours.fingerprint } as const;
  const settings: DocumentSource = { url, trust, token: null, timeoutMs: 2_000, maxBytes, ...source };
  const provider = remoteProvider({
    url,
    fetch: async (etag) => await fetchDocument(settings, etag),
    store: documentStore(state, systemClock),
    rules: async () => rulesFor([signerOf(sampleKey)]),
    clock: { nowMs: () => time.nowMs, monotonicMs: () => time.monotonicMs },
    everyMs,
    ...more,
  });
  return {
    time,
    read: async () => await provider.read(),
    /** As a restart leaves it: a new process on the same state. */
    pass: async () => {
      time.monotonicMs += 30 * everyMs;
      const { guests, problems, version } = await provider.read();
      return { cores: guests.map(({ vmid, fields }) => `${vmid}: ${fields.cores}`), problems, version };
    },
  };
}

const withCores = (serial: number, cores: number) =>
  sealed(sampleDocument({ serial, files: [{ name: '101.yaml', text: `vmid: 101\ndesired: { cores: ${cores} }\n` }] }));

async function failureOf(promise: Promise<unknown>): Promise<Failure> {
  const error: unknown = await promise.then(
    () => new Error('it succeeded'),
    (reason: unknown) => reason,
  );
  if (error instanceof Failure) return error;
  throw error;
}

describe('a source of signed documents', () => {
  it('declares what its files declare, and a new document takes effect in the next pass', async () => {
    const server = await startServer();
    const agent = openAgent(server);
    server.offer(withCores(5, 2), '"a"');
    expect(await agent.pass()).toEqual({ cores: ['101: 2'], problems: [], version: 'serial 5' });
    server.offer(withCores(6, 4), '"b"');
    expect(await agent.pass()).toEqual({ cores: ['101: 4'], problems: [], version: 'serial 6' });
  });

  it('is asked at most once in its time, with the ETag of the document in force and the token', async () => {
    const server = await startServer();
    server.offer(withCores(5, 2), '"a"');
    const agent = openAgent(server, { token: 'token-of-the-test' });
    await agent.pass();
    await agent.read();
    expect(server.asked).toHaveLength(1);
    await agent.pass();
    const [first, second] = server.asked.map(({ headers }) => headers);
    expect(first).toMatchObject({ authorization: 'Bearer token-of-the-test' });
    expect([first?.['if-none-match'], second?.['if-none-match']]).toEqual([undefined, '"a"']);
  });

  it('tells mistakes in a guest by the lines of its file, and leaves the other guests alone', async () => {
    const server = await startServer();
    const files = [
      { name: '101.yaml', text: 'vmid: 101\ndesired: { cores: 2 }\n' },
      { name: '102.yaml', text: 'vmid: 102\ndesired:\n  coers: 3\n' },
      { name: '103-db.yaml', text: '{' },
    ];
    server.offer(sealed(sampleDocument({ files })));
    const { cores, problems } = await openAgent(server).pass();
    expect(cores).toEqual(['101: 2']);
    expect(problems).toMatchObject([
      { vmid: 102, message: expect.stringContaining('#/102.yaml:3:3: desired.coers') },
      { vmid: 103, message: expect.stringContaining('#/103-db.yaml:1:') },
    ]);
  });

  it('that was never had leaves nothing in force, and says so', async () => {
    const server = await startServer();
    const failure = await failureOf(openAgent(server).pass());
    expect(failure).toMatchObject({ code: 'desired_unavailable', exit: 10 });
    expect(failure.message).toMatch(/HTTP 404.*no document is in force, and guests stay as they are/);
  });

  it('whose first document is refused leaves nothing in force', async () => {
    const server = await startServer();
    server.offer(sealed(sampleDocument(), strangerKey));
    expect(await failureOf(openAgent(server).pass())).toMatchObject({ code: 'policy_refused', exit: 13 });
  });
});

describe('the document in force', () => {
  const attacks: [string, (server: Server) => void, RegExp][] = [
    ['an older serial', (server) => server.offer(withCores(4, 9)), /refused \(older_serial\)/],
    ['its own serial with other content', (server) => server.offer(withCores(5, 9)), /refused \(serial_reused\)/],
    [
      'an altered document',
      (server) => server.offer(withCores(6, 9).replace(/"sig": "..../, '"sig": "AAAA')),
      /refused \(bad_signature\)/,
    ],
    [
      "a stranger's document",
      (server) => server.offer(sealed(sampleDocument({ serial: 6 }), strangerKey)),
      /unknown_key/,
    ],
    [
      "another agent's document",
      (server) => server.offer(sealed(sampleDocument({ serial: 6, agents: ['f'.repeat(32)] }))),
      /other_agent/,
    ],
    [
      'an expired document',
      (server) => server.offer(sealed(sampleDocument({ serial: 6, expires: '2026-11-24T13:00:00Z' }))),
      /refused \(expired\)/,
    ],
    ['a huge document', (server) => server.offer('x'.repeat(maxBytes + 1)), /more than 262144 bytes/],
    ['a document without end', (server) => (server.handler = drip), /did not answer within|more than/],
    ['silence', (server) => (server.handler = () => undefined), /did not answer within 0.3 s/],
    [
      'silence in the middle',
      (server) => (server.handler = (_request, response) => void response.writeHead(200).write('{"payload":')),
      /did not answer within 0.3 s/,
    ],
    [
      'a cut answer',
      (server) =>
        (server.handler = (_request, response) => {
          response.writeHead(200, { 'content-length': '500' }).write('{"payload":');
          response.socket?.destroy();
        }),
      /no document is had/,
    ],
    ['half a document', (server) => server.offer(withCores(6, 9).slice(0, 200)), /refused \(malformed\)/],
    [
      'a web page',
      (server) => (server.handler = (_request, response) => void response.end('<html>Sign in</html>')),
      /a web page/,
    ],
    [
      'an error',
      (server) => (server.handler = (_request, response) => void response.writeHead(500).end('{}')),
      /HTTP 500/,
    ],
  ];

  it.each(attacks)(
    'stays in force, now and after a restart, when the source answers with %s',
    async (_name, attack, says) => {
      const server = await startServer();
      server.offer(withCores(5, 2));
      await openAgent(server).pass();
      attack(server);
      for (const agent of [openAgent(server, { timeoutMs: 300 }), openAgent(server, { timeoutMs: 300 })]) {
        const { cores, problems, version } = await agent.pass();
        expect({ cores, version }).toEqual({ cores: ['101: 2'], version: 'serial 5' });
        expect(problems).toMatchObject([{ vmid: null, message: expect.stringMatching(says) }]);
        expect(problems[0]?.message).toContain(
          'the document with serial 5, accepted at 2026-11-25T00:00:00.000Z, stays in force',
        );
      }
      server.offer(withCores(7, 3));
      expect(await openAgent(server).pass()).toEqual({ cores: ['101: 3'], problems: [], version: 'serial 7' });
      expect((await readKept(state)).trouble).toBeNull();
    },
  );

  function drip(_request: IncomingMessage, response: ServerResponse): void {
    response.writeHead(200);
    const timer = setInterval(() => response.write(' '), 20);
    response.on('close', () => clearInterval(timer));
  }

  it('stays in force when the server shows another certificate, and nothing is sent to that one', async () => {
    const server = await startServer();
    server.offer(withCores(5, 2));
    await openAgent(server).pass();
    const impostor = await startServer(theirs);
    impostor.offer(withCores(6, 9));
    const { cores, problems } = await openAgent(impostor, { token: 'token-of-the-test' }).pass();
    expect(cores).toEqual(['101: 2']);
    expect(problems[0]?.message).toContain(`the certificate's fingerprint is ${theirs.fingerprint}`);
    expect(impostor.asked).toHaveLength(0);
  });

  it('stays in force when the source redirects, and nobody follows', async () => {
    const [server, elsewhere] = [await startServer(), await startServer()];
    server.offer(withCores(5, 2));
    elsewhere.offer(withCores(6, 9));
    await openAgent(server).pass();
    server.handler = (_request, response) => void response.writeHead(302, { location: elsewhere.url }).end();
    const { cores, problems } = await openAgent(server).pass();
    expect(cores).toEqual(['101: 2']);
    expect(problems[0]?.message).toContain('it redirects (HTTP 302), which is not followed');
    expect(elsewhere.asked).toHaveLength(0);
  });

  it('keeps its word when its time is over and nothing newer comes, and that is said', async () => {
    const server = await startServer();
    server.offer(withCores(5, 2));
    const agent = openAgent(server);
    await agent.pass();
    agent.time.nowMs = Date.parse('2027-01-01T00:00:00Z');
    const { cores, problems } = await agent.pass();
    expect(cores).toEqual(['101: 2']);
    expect(problems).toMatchObject([{ message: expect.stringMatching(/expired at 2026-12-24.*stays in force/) }]);
  });

  it("is nobody's word any more once its key is revoked, and its serial is remembered all the same", async () => {
    const server = await startServer();
    server.offer(withCores(5, 2));
    await openAgent(server).pass();
    const signers = [signerOf(sampleKey, { revoked: true }), signerOf(strangerKey)];
    const failure = await failureOf(openAgent(server, {}, { rules: async () => rulesFor(signers) }).pass());
    expect(failure).toMatchObject({ code: 'policy_refused' });
    expect(failure.message).toMatch(/serial 5.*good no longer \(revoked_key\).*guests stay as they are/);
    const bySuccessor = (serial: number) => sealed(sampleDocument({ serial }), strangerKey);
    server.offer(bySuccessor(4));
    await failureOf(openAgent(server, {}, { rules: async () => rulesFor(signers) }).pass());
    server.offer(bySuccessor(6));
    expect(await openAgent(server, {}, { rules: async () => rulesFor(signers) }).pass()).toMatchObject({
      version: 'serial 6',
    });
  });

  it('that cannot be read from disk is not guessed at: an older one could come back', async () => {
    const server = await startServer();
    server.offer(withCores(5, 2));
    await openAgent(server).pass();
    writeFileSync(keptDocumentPath(state), '{"version":1,"sequence":0,"value":{"docu');
    expect(await failureOf(openAgent(server).pass())).toMatchObject({ code: 'state_unreadable' });
  });

  it('is written with mode 0600, and not again while nothing is new', async () => {
    const server = await startServer();
    server.offer(withCores(5, 2));
    const agent = openAgent(server);
    await agent.pass();
    const before = statSync(keptDocumentPath(state));
    expect(before.mode & 0o777).toBe(0o600);
    await agent.pass();
    await agent.pass();
    expect(statSync(keptDocumentPath(state)).ino).toBe(before.ino);
  });
});

describe('a source that cannot be had', () => {
  it('is asked less and less often, ten minutes apart at most, and at its pace once it answers', async () => {
    const server = await startServer();
    server.offer(withCores(5, 2));
    const agent = openAgent(server);
    await agent.pass();
    server.handler = (_request, response) => void response.writeHead(503).end();
    agent.time.monotonicMs += everyMs;
    const askedAt: number[] = [];
    for (let minute = 0; minute < 60; minute += 1) {
      const before = server.asked.length;
      await agent.read();
      if (server.asked.length > before) askedAt.push(minute);
      agent.time.monotonicMs += 60_000;
    }
    expect(askedAt).toEqual([0, 1, 3, 7, 15, 25, 35, 45, 55]);
  });

  it('keeps since when, over restarts', async () => {
    const server = await startServer();
    server.offer(withCores(5, 2));
    const first = openAgent(server);
    await first.pass();
    server.handler = (_request, response) => void response.writeHead(503).end();
    await first.pass();
    const later = openAgent(server);
    later.time.nowMs += 3_600_000;
    expect((await later.pass()).problems[0]?.message).toContain('since 2026-11-25T00:00:00.000Z');
  });
});

describe('who only looks', () => {
  it('sees what a pass would see, and writes nothing', async () => {
    const server = await startServer();
    server.offer(withCores(5, 2));
    await openAgent(server).pass();
    server.offer(withCores(6, 4));
    const looking = openAgent(server, {}, { store: unwrittenStore(state) });
    expect(await looking.pass()).toMatchObject({ cores: ['101: 4'], version: 'serial 6' });
    expect((await readKept(state)).document?.serial).toBe(5);
  });
});

describe('two processes', () => {
  it('that have different documents in hand keep the newer one, whoever writes last', async () => {
    const [old, young] = [await startServer(), await startServer()];
    old.offer(withCores(6, 6));
    young.offer(withCores(7, 7));
    let letGo = (): void => undefined;
    const held = new Promise<void>((resolve) => (letGo = resolve));
    const slow = openAgent(
      old,
      {},
      {
        fetch: async () => {
          await held;
          return { kind: 'document', bytes: Buffer.from(withCores(6, 6)), etag: null };
        },
      },
    );
    const reading = slow.pass();
    await openAgent(young).pass();
    letGo();
    expect(await reading).toMatchObject({ cores: ['101: 7'], version: 'serial 7' });
    expect((await readKept(state)).document?.serial).toBe(7);
  });
});
