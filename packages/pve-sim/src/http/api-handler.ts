import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { type AuthResult, authenticate, type Caller } from '../auth.ts';
import type { SimNode } from '../node.ts';
import { Counted, matchRoute, runRoute } from '../router.ts';
import { control } from '../routes/sim-control.ts';
import { routes } from '../routes/table.ts';
import { type Answer, asExtJs, bare, refusal, send, success } from './answer.ts';
import { ApiError } from './api-error.ts';
import { parseBody, parseUrlencoded, readBody } from './request-body.ts';
import { htmlAnswer, sendTruncated, takeFor, withLie } from './wire-faults.ts';

const apiPrefix = '/api2/json';
/** The same API with every outcome as HTTP 200, and success or failure in the body. */
const extPrefix = '/api2/extjs';

/** Answers one request, with whatever was ordered to go wrong with it. */
export async function handle(node: SimNode, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const method = request.method ?? 'GET';
  const url = request.url ?? '/';
  const [path, query] = splitOnce(url, '?');
  const auth = authenticate(node.tokens, request.headers.authorization);
  if (path.startsWith('/sim/')) return answerControl(node, request, response, auth, path);
  if (request.headers['transfer-encoding'] !== undefined) {
    const reason = 'chunked transfer encoding not supported';
    return send(request, response, { status: 501, reason, body: reason, contentType: null });
  }
  const body = await readBodyOr(request, response);
  if (body === null) return;
  const prefix = [apiPrefix, extPrefix].find((candidate) => path.startsWith(candidate));
  const apiPath = prefix === undefined ? path : path.slice(prefix.length) || '/';
  if (takeFor(node.faults, 'hang', method, apiPath) !== null) return holdUntilCleared(node, response);
  if (takeFor(node.faults, 'reset', method, apiPath) !== null) return void response.socket?.destroy();
  const slow = takeFor(node.faults, 'slow', method, apiPath);
  if (slow !== null) await delay(slow.ms);
  const answer = await produce(
    node,
    { method, path, apiPath, query, body, contentType: request.headers['content-type'] },
    auth,
  );
  await deliver(node, { method, apiPath }, answer, request, response);
}

interface ApiRequest {
  method: string;
  path: string;
  apiPath: string;
  query: string;
  body: string;
  contentType: string | undefined;
}

async function produce(node: SimNode, request: ApiRequest, auth: AuthResult): Promise<Answer> {
  const { method, path, apiPath } = request;
  if (apiPath === path) {
    const reason = `no formatter for uri /, ${path.replace(/^\/api2\//, '')}`;
    return { status: 501, reason, body: reason, contentType: null };
  }
  const unauthorized = takeFor(node.faults, 'unauthorized', method, apiPath) !== null;
  if (auth.kind === 'refused' || unauthorized) {
    await delay(node.options.authDelayMs ?? 3_000);
    return bare(401, auth.kind === 'refused' ? auth.reason : 'Authentication failed!');
  }
  if (method === 'HEAD') return bare(501, `Method 'HEAD ${apiPath}' not implemented`);
  const refused = takeFor(node.faults, 'refuse', method, apiPath);
  // From 595 up it is the proxy itself that speaks, without a body.
  if (refused !== null && refused.status >= 595) return bare(refused.status, refused.text);
  if (refused !== null) return refusal(new ApiError(refused.status, refused.text));
  const html = takeFor(node.faults, 'html', method, apiPath);
  if (html !== null) return htmlAnswer(html.status);
  const answer = await callRoute(node, request, auth.caller);
  return path.startsWith(extPrefix) ? asExtJs(answer) : answer;
}

async function callRoute(node: SimNode, request: ApiRequest, caller: Caller): Promise<Answer> {
  const { method, apiPath } = request;
  try {
    const matched = matchRoute(routes, method, apiPath.replace(/\/+$/, '') || '/');
    if (matched.route.protected && takeFor(node.faults, 'daemon_down', method, apiPath) !== null)
      return bare(595, 'Connection refused');
    const params = { ...parseUrlencoded(request.query), ...bodyParams(request) };
    const result = await runRoute(matched, node, caller, params);
    return result instanceof Counted ? success(result.data, result.total) : success(result ?? null, null);
  } catch (error) {
    if (error instanceof ApiError) return refusal(error);
    node.warn(`${method} ${apiPath}: ${error instanceof Error ? error.stack : String(error)}`);
    return refusal(new ApiError(500, error instanceof Error ? error.message : String(error)));
  }
}

function bodyParams(request: ApiRequest): ReturnType<typeof parseBody> {
  if (request.method === 'GET') return {};
  if (request.body === '' && !(request.contentType ?? '').includes('json')) return {};
  return parseBody(request.contentType, request.body);
}

async function deliver(
  node: SimNode,
  { method, apiPath }: { method: string; apiPath: string },
  answer: Answer,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (takeFor(node.faults, 'drop_answer', method, apiPath) !== null) return void response.socket?.destroy();
  if (takeFor(node.faults, 'hang_answer', method, apiPath) !== null) return holdUntilCleared(node, response);
  const lie = answer.status === 200 ? takeFor(node.faults, 'lie', method, apiPath) : null;
  const told = lie === null ? answer : withLie(answer, lie.data);
  const truncated = takeFor(node.faults, 'truncated_json', method, apiPath);
  if (truncated !== null) return sendTruncated(response, told, truncated.abrupt);
  send(request, response, told);
}

async function answerControl(
  node: SimNode,
  request: IncomingMessage,
  response: ServerResponse,
  auth: AuthResult,
  path: string,
): Promise<void> {
  if (auth.kind === 'refused') return send(request, response, bare(401, auth.reason));
  const body = await readBody(request);
  const result = control(node, request.method ?? 'GET', path, body) ?? {
    status: 404,
    body: { error: `nothing at ${path}` },
  };
  const contentType = 'application/json;charset=UTF-8';
  send(request, response, {
    status: result.status,
    reason: result.status === 200 ? 'OK' : 'Refused',
    body: JSON.stringify(result.body),
    contentType,
  });
}

async function readBodyOr(request: IncomingMessage, response: ServerResponse): Promise<string | null> {
  try {
    return await readBody(request);
  } catch (error) {
    if (!(error instanceof ApiError)) return null; // the caller went away in the middle of its body
    send(request, response, { status: error.status, reason: error.message, body: error.message, contentType: null });
    return null;
  }
}

/** Neither an answer nor an end, until the faults are cleared: then the connection is closed. */
async function holdUntilCleared(node: SimNode, response: ServerResponse): Promise<void> {
  const before = node.faults.clearings();
  while (node.faults.clearings() === before && response.socket?.destroyed !== true) await delay(20);
  response.socket?.destroy();
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}
