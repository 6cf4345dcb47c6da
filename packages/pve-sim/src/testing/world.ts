import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type RequestOptions, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { noDelays } from '../delays.ts';
import type { PveSimOptions } from '../options.ts';
import { type PveSim, startPveSim } from '../sim.ts';

/** An answer as it came over the wire. */
export interface WireAnswer {
  status: number;
  reason: string;
  headers: Record<string, string | string[] | undefined>;
  text: string;
  /** The body as JSON; undefined when it is none. */
  json: { data?: unknown; total?: number; message?: string; errors?: Record<string, string> } | undefined;
  elapsedMs: number;
}

export type WireParams = Record<string, string | number>;

/** A simulator in folders of its own, and a client that hides nothing. */
export interface World {
  folder: string;
  sim: PveSim;
  options: PveSimOptions;
  api(method: string, path: string, params?: WireParams, more?: CallOptions): Promise<WireAnswer>;
  control(method: string, path: string, body?: unknown): Promise<WireAnswer>;
  /** The `data` of a call that must succeed. */
  data<T>(method: string, path: string, params?: WireParams): Promise<T>;
  /** Starts vzdump and answers the UPID. */
  vzdump(params: WireParams): Promise<string>;
  log(upid: string): Promise<string[]>;
  /** Waits until the task ends and answers its exit status. */
  ended(upid: string): Promise<string>;
  /** Waits until a line of the log fits. */
  logged(upid: string, fits: RegExp): Promise<void>;
  restart(): Promise<void>;
  close(): Promise<void>;
}

export interface CallOptions {
  token?: string | null;
  headers?: Record<string, string>;
  /** Sent as it is instead of the parameters. */
  body?: string;
}

const patienceMs = 20_000;

export async function openWorld(options: Partial<PveSimOptions> = {}): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'pve-sim-'));
  const guest = join(folder, 'guest-101');
  mkdirSync(join(guest, 'srv'), { recursive: true });
  writeFileSync(join(guest, 'srv', 'data.txt'), 'what the guest holds\n');
  const all: PveSimOptions = {
    listen: '127.0.0.1:0',
    state: join(folder, 'state'),
    node: 'pve1',
    guests: [{ vmid: 101, dir: guest, name: 'ct101' }],
    storages: [{ id: 'bk', dir: join(folder, 'bk'), prune: 'keep-last=3' }],
    delays: noDelays,
    authDelayMs: 0,
    warn: () => {},
    ...options,
  };
  const world: World = {
    folder,
    options: all,
    sim: await startPveSim(all),
    api: (method, path, params, more) => call(world.sim, method, `/api2/json${path}`, params, more),
    control: (method, path, body) =>
      call(
        world.sim,
        method,
        path,
        undefined,
        body === undefined ? {} : { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } },
      ),
    data: async <T>(method: string, path: string, params?: WireParams): Promise<T> => {
      const answer = await world.api(method, path, params);
      if (answer.status !== 200) throw new Error(`${method} ${path}: ${answer.status} ${answer.reason} ${answer.text}`);
      return answer.json?.data as T;
    },
    vzdump: (params) => world.data<string>('POST', '/nodes/localhost/vzdump', params),
    log: async (upid) =>
      (await world.data<{ t: string }[]>('GET', `/nodes/localhost/tasks/${encodeURIComponent(upid)}/log?limit=0`)).map(
        ({ t }) => t,
      ),
    ended: async (upid) => {
      const path = `/nodes/localhost/tasks/${encodeURIComponent(upid)}/status`;
      const status = (): Promise<{ exitstatus?: string }> => world.data('GET', path);
      await until(
        async () => (await status()).exitstatus !== undefined,
        async () => `${upid} ended; its log:\n${(await world.log(upid)).join('\n')}`,
      );
      return (await status()).exitstatus ?? '';
    },
    logged: async (upid, fits) =>
      until(
        async () => (await world.log(upid)).some((line) => fits.test(line)),
        async () => `a line like ${fits} in:\n${(await world.log(upid)).join('\n')}`,
      ),
    restart: async () => {
      await world.sim.stop();
      world.sim = await startPveSim(all);
    },
    close: async () => {
      world.sim.faults.clear();
      world.sim.killWorkers();
      await world.sim.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return world;
}

/** Looks again and again, for at most 20 s; the error says what was awaited. */
export async function until(
  holds: () => Promise<boolean> | boolean,
  what: () => Promise<string> | string,
): Promise<void> {
  const giveUpAt = performance.now() + patienceMs;
  while (!(await holds())) {
    if (performance.now() > giveUpAt) throw new Error(`never saw: ${await what()}`);
    await delay(10);
  }
}

/** File names have a stamp of one second: two backups of a guest within one would be one. */
export async function nextSecond(): Promise<void> {
  const second = Math.floor(Date.now() / 1000);
  await until(
    () => Math.floor(Date.now() / 1000) > second,
    () => 'the next second',
  );
}

/** One call to any simulator that can be reached. */
export async function call(
  sim: { url: string; token: string },
  method: string,
  path: string,
  params: WireParams = {},
  more: CallOptions = {},
): Promise<WireAnswer> {
  const pairs = new URLSearchParams(
    Object.entries(params).map(([key, value]): [string, string] => [key, String(value)]),
  ).toString();
  const inQuery = method === 'GET' || method === 'DELETE' || method === 'HEAD';
  const url = new URL(sim.url + path + (inQuery && pairs !== '' ? `${path.includes('?') ? '&' : '?'}${pairs}` : ''));
  const body = more.body ?? (inQuery ? '' : pairs);
  const token = more.token === undefined ? sim.token : more.token;
  const headers: Record<string, string> = {
    ...(token === null ? {} : { Authorization: `PVEAPIToken=${token}` }),
    ...(body === ''
      ? {}
      : { 'Content-Type': 'application/x-www-form-urlencoded', 'Content-Length': String(Buffer.byteLength(body)) }),
    ...more.headers,
  };
  // The path goes out as it was written: UPIDs and volids may stand in it raw or encoded.
  return exchange(
    {
      host: url.hostname,
      port: url.port,
      path: `${path.split('?')[0]}${url.search}`,
      method,
      headers,
      rejectUnauthorized: false,
      agent: false,
    },
    body,
  );
}

async function exchange(options: RequestOptions, body: string): Promise<WireAnswer> {
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const sent = request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        const reason = Buffer.from(response.statusMessage ?? '', 'latin1').toString('utf8');
        resolve({
          status: response.statusCode ?? 0,
          reason,
          headers: response.headers,
          text,
          json: parse(text),
          elapsedMs: performance.now() - began,
        });
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

function parse(text: string): WireAnswer['json'] {
  try {
    return JSON.parse(text) as WireAnswer['json'];
  } catch {
    return undefined; // the test says what it expected instead
  }
}
