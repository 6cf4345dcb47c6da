import type { IncomingMessage, ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import type { ApiError } from './api-error.ts';

const gzipAboveBytes = 1024;

export interface Answer {
  status: number;
  reason: string;
  body: string | null;
  contentType: string | null;
}

/** A `total` of 0 is left out (recorded). */
export function success(data: unknown, total: number | null): Answer {
  const body = JSON.stringify(total === null || total === 0 ? { data } : { total, data });
  return { status: 200, reason: 'OK', body, contentType: 'application/json;charset=UTF-8' };
}

export function refusal(error: ApiError): Answer {
  const message = `${error.message}${error.lineEnd ? '\n' : ''}`;
  const body = JSON.stringify({ data: null, message, ...(error.errors === null ? {} : { errors: error.errors }) });
  return {
    status: error.status,
    reason: firstLine(error.message),
    body,
    contentType: 'application/json;charset=UTF-8',
  };
}

/** The same outcome in the other format: HTTP 200 always, `success` in the body. */
export function asExtJs(answer: Answer): Answer {
  const body = JSON.parse(answer.body ?? '{"data":null}') as Record<string, unknown>;
  const outcome =
    answer.status === 200 ? { success: 1 } : { success: 0, status: answer.status, message: answer.reason };
  return { ...answer, status: 200, reason: 'OK', body: JSON.stringify({ ...body, ...outcome }) };
}

/** An answer without a body, as 401 and 595 come. */
export function bare(status: number, reason: string): Answer {
  return { status, reason, body: null, contentType: null };
}

/** Every answer from 400 up closes the connection. */
export function send(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  const plain = Buffer.from(answer.body ?? '', 'utf8');
  const zips =
    plain.length > gzipAboveBytes && /\bgzip\b/.test(request.headers['accept-encoding'] ?? '') && answer.status < 400;
  const body = zips ? gzipSync(plain) : plain;
  const closes =
    answer.status >= 400 || /close/i.test(request.headers.connection ?? '') || request.httpVersion === '1.0';
  const now = new Date().toUTCString();
  response.shouldKeepAlive = !closes;
  response.writeHead(answer.status, reasonBytes(answer.reason), {
    'Cache-Control': 'max-age=0',
    Connection: closes ? 'close' : 'Keep-Alive',
    Date: now,
    Pragma: 'no-cache',
    Server: 'pve-api-daemon/3.0',
    ...(zips ? { 'Content-Encoding': 'gzip' } : {}),
    'Content-Length': String(body.length),
    ...(answer.contentType === null ? {} : { 'Content-Type': answer.contentType }),
    Expires: now,
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

function firstLine(text: string): string {
  return text.split('\n')[0] ?? '';
}

/** UTF-8 bytes, one character each: what a status line holds. Control characters cannot be sent. */
function reasonBytes(reason: string): string {
  return Buffer.from(reason, 'utf8')
    .toString('latin1')
    .replaceAll(/[\x00-\x08\x0a-\x1f\x7f]/g, ' ');
}
