import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { makeCertificate, type TestCertificate } from '@felhom/pinned-tls/testing/certificate.ts';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type AgentApi, AgentError } from './agent-api.ts';
import { type AgentAddress, createAgentClient } from './client.ts';
import { memoryGeneration } from './generation.ts';
import { limits } from './schema.ts';

let ours: TestCertificate;
let theirs: TestCertificate;
const open: { close(): void }[] = [];

beforeAll(() => {
  ours = makeCertificate('ours');
  theirs = makeCertificate('theirs');
});
afterEach(() => {
  for (const each of open.splice(0)) each.close();
});

type Handler = (request: IncomingMessage, response: ServerResponse, body: string) => void;

/** A real TLS server that answers as `handler` says and keeps what it was asked. */
async function serve(
  handler: Handler,
  certificate: TestCertificate = ours,
): Promise<AgentAddress & { asked: IncomingMessage[]; connections: () => number; server: Server }> {
  const asked: IncomingMessage[] = [];
  let connections = 0;
  const server = createServer({ key: certificate.key, cert: certificate.cert }, (request, response) => {
    asked.push(request);
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => handler(request, response, body));
  });
  server.on('secureConnection', () => (connections += 1));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push({
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `https://127.0.0.1:${port}`,
    fingerprint: certificate.fingerprint,
    asked,
    connections: () => connections,
    server,
  };
}

function json(response: ServerResponse, status: number, value: unknown, extra: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...extra }).end(JSON.stringify(value));
}

function client(
  agents: AgentAddress[],
  options: { generation?: ReturnType<typeof memoryGeneration>; answerMs?: number } = {},
): AgentApi {
  const api = createAgentClient({
    agents: agents.map(({ url, fingerprint }) => ({ url, fingerprint })),
    token: 'a-token-of-a-test',
    generation: options.generation ?? memoryGeneration(),
    bootId: 'boot-1',
    timeouts: { connectMs: 2_000, answerMs: options.answerMs ?? 2_000 },
  });
  open.push({ close: () => void api.close() });
  return api;
}

async function errorOf(promise: Promise<unknown>): Promise<AgentError> {
  const error: unknown = await promise.then(
    () => new Error('it succeeded'),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof AgentError)) throw error;
  return error;
}

const started = { job_id: 'job1', phase: 'queued' };
const refusal = (code: string, extra: object = {}): object => ({
  error: { code, message: `it says ${code}`, hint: 'type this', ...extra },
});

describe('a call', () => {
  it('presents token, version, generation, boot id and idempotency key, and its body', async () => {
    let seen = '';
    const agent = await serve((_request, response, body) => {
      seen = body;
      json(response, 202, { ...started, more: 'a newer agent may say more' });
    });
    expect(await client([agent]).start({ run_id: 'r1', storage: 'pbs' }, { idempotencyKey: 'r1' })).toEqual(started);
    expect(JSON.parse(seen)).toEqual({ run_id: 'r1', storage: 'pbs' });
    const [request] = agent.asked;
    expect(request?.headers).toMatchObject({
      authorization: 'Bearer a-token-of-a-test',
      'felhom-api': '1',
      'felhom-generation': '0',
      'felhom-boot-id': 'boot-1',
      'idempotency-key': 'r1',
    });
  });

  it('tells when PID 1 started, and that it asks only for what is due, where that is so and nowhere else', async () => {
    const agent = await serve((_request, response) => json(response, 202, started));
    const { url, fingerprint } = agent;
    const api = createAgentClient({
      agents: [{ url, fingerprint }],
      token: 'a-token-of-a-test',
      generation: memoryGeneration(),
      bootId: 'boot-1',
      bootStarted: '4711',
    });
    open.push({ close: () => void api.close() });
    await api.start({ run_id: 'r1' }, { idempotencyKey: 'r1', onlyIfDue: true });
    await api.start({ run_id: 'r2' }, { idempotencyKey: 'r2', onlyIfDue: false });
    await client([agent]).start({ run_id: 'r3' }, { idempotencyKey: 'r3' });
    const told = agent.asked.map(({ headers }) => [headers['felhom-boot-started'], headers['felhom-only-if-due']]);
    expect(told).toEqual([
      ['4711', '1'],
      ['4711', undefined],
      [undefined, undefined],
    ]);
  });

  it('is made on every new connection after the pin was compared, not on the first alone', async () => {
    const agent = await serve((_request, response) => json(response, 202, started, { connection: 'close' }));
    const api = client([agent]);
    for (let turn = 0; turn < 3; turn += 1) expect(await api.quiesced('job1')).toEqual(started);
    expect(agent.connections()).toBe(3);
  });

  it('sends nothing to a peer with another certificate', async () => {
    const impostor = await serve((_request, response) => json(response, 202, started), theirs);
    const error = await errorOf(client([{ url: impostor.url, fingerprint: ours.fingerprint }]).quiesced('job1'));
    expect(error).toMatchObject({ kind: 'identity', code: 'tls_identity', exit: 12 });
    expect(error.message).toContain(theirs.fingerprint);
    expect(impostor.asked).toHaveLength(0);
  });

  it('takes a fingerprint in any spelling', async () => {
    const agent = await serve((_request, response) => json(response, 202, started));
    const spelled = `sha256:${agent.fingerprint.replaceAll(':', '').toLowerCase()}`;
    expect(await client([{ url: `${agent.url}/`, fingerprint: spelled }]).quiesced('job1')).toEqual(started);
  });
});

describe('a refusal', () => {
  const cases = [
    [401, 'unauthorized', { kind: 'refused', exit: 12 }],
    [403, 'forbidden', { kind: 'refused', exit: 12 }],
    [404, 'not_found', { kind: 'not_found', exit: 12 }],
    [409, 'restored_copy', { kind: 'restored_copy', exit: 13 }],
    [409, 'identity_conflict', { kind: 'identity_conflict', exit: 13 }],
    [409, 'not_due', { kind: 'not_due', exit: 11 }],
    [409, 'busy', { kind: 'busy', exit: 11 }],
    [410, 'gate_closed', { kind: 'gone', exit: 3 }],
    [421, 'moved', { kind: 'moved', exit: 10 }],
    [422, 'key_reused', { kind: 'rejected', exit: 12 }],
    [403, 'mode_downgrade', { kind: 'refused', exit: 13 }],
    [503, 'pve_unreachable', { kind: 'failed', exit: 10 }],
    [500, 'bug', { kind: 'failed', exit: 3 }],
  ] as const;

  it.each(cases)('%i %s has its own kind and exit code, and the words of the agent', async (status, code, expected) => {
    const agent = await serve((_request, response) => json(response, status, refusal(code)));
    const error = await errorOf(client([agent]).status('job1'));
    expect(error).toMatchObject({
      ...expected,
      status,
      agentCode: code,
      message: `it says ${code}`,
      hint: 'type this',
    });
  });

  it('names the job in the way, and the node to which the guest moved', async () => {
    const job = { job_id: 'other', phase: 'ready', claimed: false };
    const busy = await serve((_request, response) => json(response, 409, refusal('busy', { job })));
    expect((await errorOf(client([busy]).start({ run_id: 'r' }, { idempotencyKey: 'r' }))).job).toEqual(job);
    const moved = await serve((_request, response) => json(response, 421, refusal('moved', { node: 'pve2' })));
    expect((await errorOf(client([moved]).status('j'))).node).toBe('pve2');
  });

  it("without the agent's words is believed as far as its status goes", async () => {
    const agent = await serve((_request, response) => response.writeHead(401).end());
    expect(await errorOf(client([agent]).due())).toMatchObject({ kind: 'refused', code: 'unauthorized' });
  });
});

describe('an agent that lies', () => {
  it.each([
    [
      'a web page',
      (response: ServerResponse) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Login</html>'),
    ],
    ['text that is no JSON', (response: ServerResponse) => response.writeHead(200).end('{"job_id":')],
    ['another shape', (response: ServerResponse) => json(response, 200, { job_id: 5, phase: 'eaten' })],
    ['too much', (response: ServerResponse) => response.writeHead(200).end('x'.repeat(limits.bodyBytes + 1))],
    [
      'a page with an error status',
      (response: ServerResponse) =>
        response.writeHead(502, { 'content-type': 'text/html' }).end('<h1>Bad Gateway</h1>'),
    ],
    ['a redirect', (response: ServerResponse) => response.writeHead(302, { location: 'https://example.org/' }).end()],
  ])('with %s is named as misbehaving, and the outcome is unknown', async (_name, answer) => {
    const agent = await serve((_request, response) => void answer(response));
    const error = await errorOf(client([agent]).quiesced('job1'));
    expect(error).toMatchObject({ kind: 'misbehaves', code: 'agent_misbehaves', exit: 10, outcomeUnknown: true });
    expect(error.message).toContain(agent.url);
  });
});

describe('silence', () => {
  it('is bounded, and its outcome is unknown', async () => {
    const agent = await serve(() => {});
    const error = await errorOf(createQuick(agent).quiesced('job1'));
    expect(error).toMatchObject({ kind: 'unreachable', outcomeUnknown: true });
    expect(error.message).toContain('did not answer in time');
  });

  it('in the middle of an answer is bounded as well', async () => {
    const agent = await serve(
      (_request, response) => void response.writeHead(200, { 'content-type': 'application/json' }).write('{'),
    );
    expect(await errorOf(createQuick(agent).quiesced('job1'))).toMatchObject({ kind: 'unreachable' });
  });

  function createQuick(agent: AgentAddress): AgentApi {
    return createAgentClient({
      agents: [{ url: agent.url, fingerprint: agent.fingerprint }],
      token: 't-t-t-t-t',
      generation: memoryGeneration(),
      bootId: 'b',
      timeouts: { connectMs: 100, answerMs: 100 },
    });
  }

  it('of a closed port says where nobody answers', async () => {
    const agent = await serve(() => {});
    agent.server.close();
    expect(await errorOf(client([agent]).due())).toMatchObject({
      kind: 'unreachable',
      code: 'agent_unreachable',
      exit: 10,
    });
  });

  it("of a long poll ends with its caller's own reason", async () => {
    const stop = new AbortController();
    const reason = new Error('asked to end');
    const agent = await serve(() => stop.abort(reason));
    await expect(client([agent]).due({ waitSeconds: 50, signal: stop.signal })).rejects.toBe(reason);
  });

  it('of a long poll may last as long as it waits', async () => {
    const fresh = {
      due: false,
      reason: 'fresh',
      requested_by: null,
      age_seconds: 1,
      next_due_at: null,
      queue_position: null,
      last: null,
    };
    const guest = { vmid: 101, name: 'docker1', node: 'pve1' };
    const agent = await serve(
      (_request, response) => void setTimeout(() => json(response, 200, { ...fresh, guest }), 400),
    );
    expect(await createQuick(agent).due({ waitSeconds: 1 })).toMatchObject({ due: false, guest });
    expect(await errorOf(createQuick(agent).due())).toMatchObject({ kind: 'unreachable' });
  });
});

describe('a list of agents', () => {
  it('is tried in order, and the one that answered is asked first from then on', async () => {
    const away = await serve(() => {});
    away.server.close();
    const moved = await serve((_request, response) => json(response, 421, refusal('moved', { node: 'pve3' })));
    const home = await serve((_request, response) => json(response, 202, started));
    const api = client([away, moved, home]);
    expect(await api.quiesced('job1')).toEqual(started);
    expect(await api.quiesced('job1')).toEqual(started);
    expect([moved.asked.length, home.asked.length]).toEqual([1, 2]);
  });

  it('with a silent member is unreachable, whatever those say that do not have the guest', async () => {
    const away = await serve(() => {});
    away.server.close();
    const foreign = await serve((_request, response) => json(response, 401, refusal('unauthorized')));
    expect(await errorOf(client([foreign, away]).due())).toMatchObject({ kind: 'unreachable' });
  });

  it("is not asked further when the guest's own agent says no", async () => {
    const home = await serve((_request, response) => json(response, 410, refusal('gate_closed')));
    const other = await serve((_request, response) => json(response, 202, started));
    expect(await errorOf(client([home, other]).quiesced('job1'))).toMatchObject({ kind: 'gone' });
    expect(other.asked).toHaveLength(0);
  });

  it('that is empty, or names no https address or no fingerprint, is a mistake of configuration', () => {
    expect(() => client([])).toThrow(/no agent is configured/);
    expect(() => client([{ url: 'http://h:1', fingerprint: ours.fingerprint }])).toThrow(/no https/);
    expect(() => client([{ url: 'https://h:1', fingerprint: 'AB:CD' }])).toThrow(/no SHA-256/);
  });
});

describe('the generation', () => {
  it('that is offered is kept before it is presented', async () => {
    const order: string[] = [];
    const agent = await serve((request, response) => {
      order.push(`asked with ${String(request.headers['felhom-generation'])}`);
      json(response, 202, started, { 'felhom-next-generation': '7' });
    });
    const store = memoryGeneration('3');
    const keep = memoryGeneration('3');
    store.write = async (value) => {
      await keep.write(value);
      store.value = keep.value;
      order.push(`kept ${value}`);
    };
    const api = client([agent], { generation: store });
    await api.quiesced('job1');
    await api.quiesced('job1');
    expect(order).toEqual(['asked with 3', 'kept 7', 'asked with 7']);
  });

  it('is never replaced by an older one or by nonsense', async () => {
    const offers = ['2', 'x', '-1', '3'];
    const agent = await serve((_request, response) =>
      json(response, 202, started, { 'felhom-next-generation': offers.shift() ?? '' }),
    );
    const store = memoryGeneration('3');
    const api = client([agent], { generation: store });
    for (let turn = 0; turn < 4; turn += 1) await api.quiesced('job1');
    expect(store.value).toBe('3');
  });

  it("that another process has renewed meanwhile is presented again instead of being taken for a copy's", async () => {
    const store = memoryGeneration('3');
    const agent = await serve((request, response) => {
      if (request.headers['felhom-generation'] === '4') return json(response, 202, started);
      store.value = '4';
      json(response, 409, refusal('restored_copy'));
    });
    expect(await client([agent], { generation: store }).quiesced('job1')).toEqual(started);
  });

  it('of a restored copy is refused for good', async () => {
    const agent = await serve((_request, response) => json(response, 409, refusal('restored_copy')));
    expect(await errorOf(client([agent], { generation: memoryGeneration('3') }).due())).toMatchObject({
      kind: 'restored_copy',
    });
    expect(agent.asked).toHaveLength(1);
  });
});
