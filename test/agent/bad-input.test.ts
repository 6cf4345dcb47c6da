import { randomUUID } from 'node:crypto';
import { request as httpsRequest } from 'node:https';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openRig, type Rig, until } from './rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await openRig({
    moreGuests: [102, 103],
    guest: { backup: [{ storage: 'bk', schedule: 'pve' }] },
    agent: { limits: { headers: '400ms', request: '800ms', per_guest: 3 } },
  });
});
afterAll(async () => await rig.close());

interface Sent {
  method?: string;
  path?: string;
  headers?: Record<string, string>;
  body?: string;
}
interface Got {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: { error?: { code: string; message: string; hint: string; job?: unknown } } & Record<string, unknown>;
  text: string;
}

/** One request by hand, without the client's own checks. */
async function send(
  { method = 'GET', path = '/backup/due', headers = {}, body }: Sent,
  token = rig.token,
): Promise<Got> {
  const url = new URL(path, rig.agent.serving.url);
  return await new Promise((resolve, reject) => {
    const sent = httpsRequest(
      url,
      {
        method,
        rejectUnauthorized: false,
        agent: false,
        headers: { authorization: `Bearer ${token}`, 'felhom-generation': '0', 'felhom-boot-id': 'boot-1', ...headers },
      },
      (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
        response.on('end', () => {
          const parsed: Got['body'] = (response.headers['content-type'] ?? '').includes('json') ? JSON.parse(text) : {};
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: parsed, text });
        });
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

const start = {
  method: 'POST',
  path: '/backup',
  headers: { 'idempotency-key': 'k', 'content-type': 'application/json' },
  body: '{"run_id":"r"}',
};

/** Nothing was started by whatever was refused. */
function nothingStarted(): void {
  expect(rig.agent.app.jobs.all()).toEqual([]);
}

describe('who may ask', () => {
  it.each([
    ['no token', { authorization: '' }],
    ['a wrong token', { authorization: 'Bearer fh_wrong' }],
    ['another scheme', { authorization: 'Basic abc' }],
  ])('is refused with %s', async (_, headers) => {
    const answer = await send({ ...start, headers: { ...start.headers, ...headers } });
    expect(answer).toMatchObject({ status: 401, body: { error: { code: 'unauthorized' } } });
    expect(answer.body.error?.hint).toContain('guest adopt');
    nothingStarted();
  });

  it('is refused with a token that was replaced, at once', async () => {
    const old = rig.tokenOf(103);
    expect((await send({}, old)).status).toBe(200);
    await rig.agent.app.guests.set(103, { token_sha256: 'ab'.repeat(32) });
    expect((await send({}, old)).status).toBe(401);
  });

  it('sees health and metrics without a token, and nothing of a guest in them but its number', async () => {
    expect(await send({ path: '/healthz', headers: { authorization: '' } })).toMatchObject({
      status: 200,
      body: { ok: true },
    });
    const metrics = await send({ path: '/metrics', headers: { authorization: '' } });
    expect(metrics.status).toBe(200);
    expect(metrics.text).toContain('# TYPE felhom_jobs gauge');
    expect(metrics.text).not.toContain('docker101');
  });

  it('is told that there was no restore test yet', async () => {
    expect(await send({ path: '/restore-test/status' })).toMatchObject({ status: 200, body: { last: null } });
  });
});

describe('what is asked', () => {
  it.each<[string, Sent, number]>([
    ['a body that is no JSON', { ...start, body: '{' }, 400],
    ['a body of another shape', { ...start, body: '{"run_id":7}' }, 422],
    ['an unknown field', { ...start, body: '{"run_id":"r","force":true}' }, 422],
    ['no idempotency key', { ...start, headers: {} }, 400],
    ['a body that is too large', { ...start, body: `{"run_id":"${'x'.repeat(300_000)}"}` }, 413],
    ['no generation', { ...start, headers: { ...start.headers, 'felhom-generation': '' } }, 400],
    ['a generation that is no number', { ...start, headers: { ...start.headers, 'felhom-generation': '-1' } }, 400],
    ['another version of the API', { ...start, headers: { ...start.headers, 'felhom-api': '2' } }, 400],
    ['an unknown path', { path: '/backups' }, 404],
    ['a path with another method', { method: 'PUT', path: '/backup' }, 405],
    ['a job that never was', { path: '/backup/status?job_id=nope' }, 404],
    ['a storage that is no target', { ...start, body: '{"run_id":"r","storage":"elsewhere"}' }, 403],
    ['a wait that is no number', { path: '/backup/due?wait=soon' }, 400],
  ])('is refused with %s, in words, with nothing started', async (_, sent, status) => {
    const answer = await send(sent);
    expect(answer.status).toBe(status);
    expect(answer.body.error?.message).toBeTruthy();
    expect(answer.body.error?.hint).toBeTruthy();
    expect(answer.headers['felhom-api']).toBe('1');
    nothingStarted();
  });

  it('is refused when the headers are larger than agreed', async () => {
    expect((await send({ headers: { 'x-long': 'x'.repeat(20_000) } })).status).toBe(431);
  });
});

describe('one address', () => {
  it('holds a few of the connections that the agent takes, so that the others find a way in', async () => {
    const host = await openRig({ agent: { limits: { per_address: 2 } } });
    const { hostname, port } = new URL(host.agent.serving.url);
    const sockets: TLSSocket[] = [];
    try {
      const isTaken = async (): Promise<boolean> =>
        await new Promise((resolve) => {
          const socket = tlsConnect({ host: hostname, port: Number(port), rejectUnauthorized: false });
          sockets.push(socket);
          socket.once('secureConnect', () => resolve(true));
          socket.once('error', () => resolve(false));
        });
      expect([await isTaken(), await isTaken(), await isTaken()]).toEqual([true, true, false]);
    } finally {
      for (const socket of sockets) socket.destroy();
      await host.close();
    }
  });
});

describe('a connection that dawdles', () => {
  it.each([
    ['in its headers', 'GET /backup/due HTTP/1.1\r\nHost: a\r\n'],
    ['in its body', 'POST /backup HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n'],
    ['in its first line', 'G'],
    ['before its first byte', ''],
  ])('is closed %s', async (_, text) => {
    const url = new URL(rig.agent.serving.url);
    const socket = tlsConnect({ host: url.hostname, port: Number(url.port), rejectUnauthorized: false });
    socket.on('error', () => {});
    let closed = false;
    socket.on('close', () => {
      closed = true;
    });
    socket.resume();
    if (text !== '') socket.write(text);
    expect(await until('the agent closes it', () => closed, 10_000)).toBe(true);
  });

  it('does not keep others waiting: a guest has a few requests at a time, and then 429', async () => {
    const polls = Array.from({ length: 3 }, () => send({ path: '/backup/due?wait=3' }));
    await until('a fourth is refused', async () => (await send({ path: '/restore-test/status' })).status === 429);
    expect((await send({ path: '/restore-test/status' }, rig.tokenOf(102))).status).toBe(200);
    for (const poll of await Promise.all(polls)) expect(poll).toMatchObject({ status: 200, body: { due: false } });
    expect((await send({ path: '/restore-test/status' })).status).toBe(200);
  });
});

describe("another guest's job", () => {
  it('is as unknown as one that never was, to every call', async () => {
    const client = rig.client();
    const { job_id: jobId } = await client.start({ run_id: 'r' }, { idempotencyKey: randomUUID() });
    const report = JSON.stringify({
      run_id: 'r',
      grade: 'app-consistent',
      grade_reason: null,
      downtime_ms: 0,
      kept_running: [],
      timeline: [],
    });
    const foreign = rig.tokenOf(102);
    for (const sent of [
      { path: `/backup/status?job_id=${jobId}` },
      { method: 'POST', path: `/backup/${jobId}/quiesced`, body: '{}' },
      { method: 'POST', path: `/backup/${jobId}/report`, body: report },
      { method: 'DELETE', path: `/backup/${jobId}?force=1` },
    ]) {
      expect(await send(sent, foreign)).toMatchObject({ status: 404, body: { error: { code: 'not_found' } } });
    }
    expect(rig.agent.app.jobs.get(jobId)).toMatchObject({ report: null });
    expect(rig.agent.app.jobs.get(jobId)?.phase).not.toBe('cancelled');
  });

  it('does not keep a second request of the first guest from its 409, with the job in the way', async () => {
    const answer = await send({ ...start, headers: { ...start.headers, 'idempotency-key': 'other' } });
    expect(answer).toMatchObject({ status: 409, body: { error: { code: 'busy', job: { claimed: true } } } });
  });

  it('keeps the same key for the same request, and 422 for another', async () => {
    const [job] = rig.agent.app.jobs.all();
    const key = job?.idempotency_key ?? '';
    expect(await send({ ...start, headers: { ...start.headers, 'idempotency-key': key } })).toMatchObject({
      status: 202,
      body: { job_id: job?.job_id },
    });
    expect(
      (await send({ ...start, body: '{"run_id":"another"}', headers: { ...start.headers, 'idempotency-key': key } }))
        .status,
    ).toBe(422);
  });
});
