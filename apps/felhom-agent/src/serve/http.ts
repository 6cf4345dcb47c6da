import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { apiVersion, headers } from '@felhom/guest-api/schema.ts';
import { asFailure, type Failure, type FailureCode } from '@felhom/kernel/failure.ts';
import { redact } from '@felhom/kernel/redact.ts';
import { BusyFailure, GoneFailure, NotDueFailure } from '../backup/job-failures.ts';

/** What a handler answers. */
export interface Answer {
  status: number;
  body: unknown;
  /** `text/plain` bodies are strings. */
  type?: 'json' | 'text';
  headers?: Record<string, string>;
}

/** An error with the status it is answered with. */
export class HttpProblem extends Error {
  override readonly name = 'HttpProblem';
  readonly status: number;
  readonly code: string;
  readonly hint: string;
  readonly extra: Record<string, unknown>;

  constructor(
    status: number,
    {
      code,
      message,
      hint,
      extra = {},
    }: { code: string; message: string; hint: string; extra?: Record<string, unknown> },
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.hint = hint;
    this.extra = extra;
  }
}

const statuses: Partial<Record<FailureCode, number>> = {
  usage: 422,
  unauthorized: 401,
  refused: 403,
  unknown_guest: 403,
  not_found: 404,
  busy: 409,
  policy_refused: 429,
  restored_copy: 409,
  identity_conflict: 409,
  state_unwritable: 507,
  pve_unreachable: 502,
  pve_misbehaves: 502,
};

export function answerOf(error: unknown): Answer {
  if (error instanceof HttpProblem)
    return problem(error.status, { code: error.code, message: redact(error.message), hint: error.hint }, error.extra);
  if (error instanceof BusyFailure) {
    const { job_id, phase, claimed } = error.job;
    return problem(409, words(error), { job: { job_id, phase, claimed } });
  }
  if (error instanceof NotDueFailure) return problem(409, { ...words(error), code: 'not_due' });
  if (error instanceof GoneFailure) return problem(410, { ...words(error), code: 'gate_closed' });
  const failure = asFailure(error);
  return problem(statuses[failure.code] ?? 500, words(failure));
}

function words(failure: Failure): { code: string; message: string; hint: string } {
  return failure.toJSON();
}

function problem(
  status: number,
  error: { code: string; message: string; hint: string },
  extra: Record<string, unknown> = {},
): Answer {
  return { status, body: { error: { ...error, ...extra } } };
}

/**
 * The body of a request, at most `maxBytes` of it.
 * @throws HttpProblem 413 for more; the connection is closed then.
 */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<string> {
  const announced = Number(request.headers['content-length'] ?? '0');
  const chunks: Buffer[] = [];
  let bytes = 0;
  if (announced > maxBytes) throw tooLarge(maxBytes);
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) continue;
    bytes += chunk.length;
    if (bytes > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function tooLarge(maxBytes: number): HttpProblem {
  return new HttpProblem(413, {
    code: 'usage',
    message: `the body is larger than ${maxBytes} bytes; nothing was started`,
    hint: 'Send less.',
  });
}

/** Runs a handler and writes its answer; what it throws becomes an answer too. */
export function listener(handle: (request: IncomingMessage, gone: AbortSignal) => Promise<Answer>): RequestListener {
  return (request, response) => {
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    request.on('error', () => gone.abort());
    void handle(request, gone.signal)
      .catch(answerOf)
      .then((answer) => send(request, response, answer));
  };
}

function send(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  if (response.destroyed || response.headersSent) return;
  const isText = answer.type === 'text';
  const text = isText ? String(answer.body) : `${JSON.stringify(answer.body)}\n`;
  const payload = Buffer.from(redact(text), 'utf8');
  // A body that was not read to its end must not be taken for the next request.
  const unread = !request.complete;
  response.writeHead(answer.status, {
    'Content-Type': isText ? 'text/plain; charset=utf-8' : 'application/json; charset=utf-8',
    'Content-Length': payload.length,
    'Cache-Control': 'no-store',
    [headers.api]: String(apiVersion),
    ...(unread ? { Connection: 'close' } : {}),
    ...answer.headers,
  });
  response.end(payload);
}

/** @throws HttpProblem 400 for a target that is no path. */
export function urlOf(request: IncomingMessage): URL {
  const target = request.url ?? '/';
  if (target.startsWith('/') && URL.canParse(`http://agent${target}`)) return new URL(`http://agent${target}`);
  throw new HttpProblem(400, {
    code: 'usage',
    message: 'the request names no path',
    hint: 'Send a path such as /backup/due.',
  });
}
