import { setImmediate as nextTurn } from 'node:timers/promises';
import { Failure } from '@felhom/kernel/failure.ts';
import { registerSecret } from '@felhom/kernel/redact.ts';
import { ConnectFailed } from '@felhom/pinned-tls/connector.ts';
import { Agent } from 'undici';
import type { z } from 'zod';
import { readAnswer } from './answer.ts';
import { PveError } from './errors.ts';
import { BodyTooLong, DeadlinePassed, EndedByCaller, exchange } from './exchange.ts';
import { type PveTls, pveConnector } from './tls.ts';

export type PveMethod = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** Parameters: booleans are written 1 and 0, lists as a repeated key, undefined is left out. */
export type PveParams = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;

/** What every call takes besides its own arguments. */
export interface CallOptions {
  signal?: AbortSignal | undefined;
  /** The whole call, connecting and reading included. Default: the client's `readTimeoutMs` or `writeTimeoutMs`. */
  timeoutMs?: number | undefined;
}

export interface PveCall<T> extends CallOptions {
  method: PveMethod;
  /** Below `/api2/json`, each segment encoded: see `pvePath`. */
  path: string;
  /** Query of a GET or DELETE, form of a POST or PUT. */
  params?: PveParams;
  /** What `data` must be. */
  schema: z.ZodType<T>;
}

export interface PveAnswer<T> {
  data: T;
  /** Beside log and task lists: how many there are in all. */
  total: number | null;
  /** The node's clock (header Date, whole seconds) in milliseconds since the epoch. */
  serverMs: number | null;
}

/** The one door to a node's API. */
export interface PveHttp {
  /** Throws PveError. A GET whose kept connection was closed under it is sent once more; a write never. */
  call<T>(call: PveCall<T>): Promise<PveAnswer<T>>;
  close(): Promise<void>;
}

export interface PveHttpOptions {
  /** `https://host:8006` */
  url: string;
  /** `USER@REALM!NAME=SECRET`. Registered as a secret here. */
  token: string;
  tls: PveTls;
  /** Default 5 s. */
  connectTimeoutMs?: number | undefined;
  /** A GET. Default 15 s: PVE delays a 401 by 3 s, and storages may be slow. */
  readTimeoutMs?: number | undefined;
  /** A write. Default 40 s: PVE waits 10 s for a busy configuration and its inner proxy gives up after 30 s. */
  writeTimeoutMs?: number | undefined;
  /** Bytes of an answer's body that are read. Default 16 MiB; more is `misbehaves`. */
  maxBodyBytes?: number | undefined;
}

/** Idle connections are closed by pveproxy after 5 s; we let go of them before that. */
const keepAliveMs = 3_500;
const defaults = {
  connectTimeoutMs: 5_000,
  readTimeoutMs: 15_000,
  writeTimeoutMs: 40_000,
  maxBodyBytes: 16 * 1024 * 1024,
};

/** A path with every inserted value percent-encoded: a name can never become another path. */
export function pvePath(strings: TemplateStringsArray, ...values: readonly (string | number)[]): string {
  return strings
    .map((text, index) => (index === 0 ? text : encodeURIComponent(String(values[index - 1])) + text))
    .join('');
}

/**
 * The HTTP layer: token header, pinned TLS, kept connections, bounded bodies, a deadline a call.
 * Throws `config_invalid` at once for a URL, token or fingerprint that cannot be right.
 */
export function createPveHttp(options: PveHttpOptions): PveHttp {
  const origin = parseOrigin(options.url);
  const authorization = authorizationHeader(options.token);
  const bounds = { ...defaults, ...withoutUndefined(options) };
  const agent = new Agent({
    connect: pveConnector(options.tls, bounds.connectTimeoutMs),
    keepAliveTimeout: keepAliveMs,
    connections: 16,
    pipelining: 1,
    // The deadline of each call bounds headers and body together.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const send = <T>(call: PveCall<T>, retriesLeft: number): Promise<PveAnswer<T>> =>
    sendOnce({ agent, origin, authorization, bounds }, call).catch((error: unknown) => {
      if (call.method === 'GET' && retriesLeft > 0 && isClosedConnection(error)) return send(call, retriesLeft - 1);
      throw error;
    });
  return { call: (call) => send(call, 1), close: () => agent.destroy() };
}

interface Door {
  agent: Agent;
  origin: string;
  authorization: string;
  bounds: typeof defaults;
}

async function sendOnce<T>({ agent, origin, authorization, bounds }: Door, call: PveCall<T>): Promise<PveAnswer<T>> {
  const { method, path, signal, schema } = call;
  const name = `${method} ${path}`;
  const text = call.params === undefined ? '' : encodeParams(call.params);
  const inQuery = method === 'GET' || method === 'DELETE';
  const head = { authorization, accept: 'application/json' };
  const request = inQuery
    ? { origin, method, path: `/api2/json${path}${text === '' ? '' : `?${text}`}`, headers: head }
    : { origin, method, path: `/api2/json${path}`, headers: { ...head, 'content-type': formType }, body: text };
  const limitMs = call.timeoutMs ?? (method === 'GET' ? bounds.readTimeoutMs : bounds.writeTimeoutMs);
  try {
    const answer = await exchange(agent, request, { limitMs, maxBodyBytes: bounds.maxBodyBytes, signal });
    // undici frees the connection a turn after the answer's end: without this the next call would open another one.
    await nextTurn();
    return readAnswer(answer, { call: name, schema });
  } catch (error) {
    throw transportError(error, name, signal);
  }
}

const formType = 'application/x-www-form-urlencoded';

/** What went wrong below HTTP, as a PveError. A Failure that ended the call is passed on as it is. */
function transportError(error: unknown, call: string, signal: AbortSignal | undefined): Error {
  if (error instanceof Failure) return error;
  const text = error instanceof Error ? error.message : String(error);
  if (error instanceof EndedByCaller)
    return signal?.reason instanceof Failure
      ? signal.reason
      : new PveError({ fault: { kind: 'aborted' }, call, text, cause: error });
  if (error instanceof BodyTooLong)
    return new PveError({ fault: { kind: 'misbehaves' }, call, text, status: error.status });
  if (error instanceof ConnectFailed) {
    const fault = error.identity
      ? ({ kind: 'tls-identity' } as const)
      : ({ kind: 'transport', outcome: 'not-sent' } as const);
    return new PveError({ fault, call, text, cause: error });
  }
  return new PveError({
    fault: { kind: 'transport', outcome: 'unknown' },
    call,
    text: error instanceof DeadlinePassed ? text : `the connection broke: ${text}`,
    cause: error,
  });
}

/** A kept connection that the node closed just as we wrote to it. */
function isClosedConnection(error: unknown): boolean {
  if (!(error instanceof PveError && error.fault.kind === 'transport') || !(error.cause instanceof Error)) return false;
  const code = 'code' in error.cause ? error.cause.code : undefined;
  return code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE';
}

function encodeParams(params: PveParams): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value])
      query.append(name, typeof one === 'boolean' ? (one ? '1' : '0') : String(one));
  }
  return query.toString();
}

function withoutUndefined(options: PveHttpOptions): Partial<typeof defaults> {
  const names = ['connectTimeoutMs', 'readTimeoutMs', 'writeTimeoutMs', 'maxBodyBytes'] as const;
  return Object.fromEntries(names.flatMap((name) => (options[name] === undefined ? [] : [[name, options[name]]])));
}

function parseOrigin(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url !== null && url.protocol === 'https:' && url.pathname === '/' && url.username === '' && url.search === '')
    return url.origin;
  throw new Failure('config_invalid', {
    message: `${JSON.stringify(text)} is not the address of a Proxmox VE node; nothing was sent`,
    hint: 'Set pve.url to https://HOST:8006, without a path.',
  });
}

/** The header's value. PVE URI-unescapes it (Formatter.pm), so a per cent sign of the secret is escaped. */
function authorizationHeader(token: string): string {
  const text = token.trim();
  registerSecret(text);
  if (/^[^\s@!=]+@[A-Za-z0-9._-]+![A-Za-z0-9._-]+=[\x21-\x7e]+$/.test(text))
    return `PVEAPIToken=${text.replaceAll('%', '%25')}`;
  throw new Failure('config_invalid', {
    message: 'the API token does not have the form USER@REALM!NAME=SECRET; nothing was sent to the node',
    hint: 'The token file holds one line, for example felhom@pve!agent=UUID; "pveum user token add" prints the secret once.',
  });
}
