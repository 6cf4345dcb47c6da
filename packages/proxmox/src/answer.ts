import type { Dispatcher } from 'undici';
import { z } from 'zod';
import { classifyAnswer, firstLine } from './classify.ts';
import { PveError } from './errors.ts';
import type { PveAnswer } from './http.ts';
import { wireNumber } from './wire.ts';

export interface AnswerReading<T> {
  /** The call, for error texts. */
  call: string;
  schema: z.ZodType<T>;
  maxBodyBytes: number;
}

const envelope = z.object({ data: z.unknown(), total: wireNumber.nullish() });
const errorBody = z.object({
  message: z.string().optional(),
  errors: z.record(z.string(), z.coerce.string()).optional(),
});

/** The answer's data, checked against the schema. Throws PveError for everything that is not a success of PVE's own. */
export async function readAnswer<T>(
  response: Dispatcher.ResponseData,
  reading: AnswerReading<T>,
): Promise<PveAnswer<T>> {
  const { statusCode: status, headers } = response;
  const { call, schema } = reading;
  const body = await readBody(response, reading);
  const contentType = single(headers['content-type']);
  const json = parseJson(body);
  if (status !== 200) {
    const said = errorBody.safeParse(json).data ?? {};
    const { fault, text } = classifyAnswer({
      status,
      reason: response.statusText,
      contentType,
      ...said,
      bodyIsHtml: isHtml(contentType, body),
    });
    throw new PveError({ fault, call, text, status });
  }
  const misbehaves = (text: string, cause?: unknown): PveError =>
    new PveError({ fault: { kind: 'misbehaves' }, call, text, status, ...(cause === undefined ? {} : { cause }) });
  if (isHtml(contentType, body)) throw misbehaves('an HTML page instead of JSON');
  const outer = envelope.safeParse(json);
  if (json === undefined || !outer.success) throw misbehaves(`the answer is not JSON of Proxmox VE: ${excerpt(body)}`);
  const data = schema.safeParse(outer.data.data);
  if (!data.success)
    throw misbehaves(
      `the answer has another shape than expected: ${firstLine(z.prettifyError(data.error))}`,
      data.error,
    );
  return { data: data.data, total: outer.data.total ?? null, serverMs: parseDate(single(headers.date)) };
}

/** The body, read up to the bound. What is longer is not read on: the connection is given up. */
async function readBody(
  response: Dispatcher.ResponseData,
  { call, maxBodyBytes }: AnswerReading<unknown>,
): Promise<string> {
  const tooLong = (): PveError =>
    new PveError({
      fault: { kind: 'misbehaves' },
      call,
      text: `the answer is longer than ${maxBodyBytes} bytes`,
      status: response.statusCode,
    });
  const { body } = response;
  // Destroying an unread body reports an abort to the stream; the error thrown here is the one that counts.
  body.on('error', () => undefined);
  if (Number(single(response.headers['content-length'])) > maxBodyBytes) {
    body.destroy();
    throw tooLong();
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    if (!Buffer.isBuffer(chunk)) continue;
    bytes += chunk.length;
    if (bytes > maxBodyBytes) throw tooLong();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch {
    // What is not JSON is judged by the caller: an empty body is right for some statuses.
    return undefined;
  }
}

const single = (value: string | string[] | undefined): string =>
  Array.isArray(value) ? (value[0] ?? '') : (value ?? '');

function isHtml(contentType: string, body: string): boolean {
  return /^text\/html/i.test(contentType) || /^\s*<(?:!doctype|html)/i.test(body);
}

function parseDate(text: string): number | null {
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? null : ms;
}

/** The beginning of a foreign answer, for the error's text. */
function excerpt(body: string): string {
  const line = firstLine(body);
  return line === '' ? 'an empty body' : JSON.stringify(line.length > 80 ? `${line.slice(0, 80)}…` : line);
}
