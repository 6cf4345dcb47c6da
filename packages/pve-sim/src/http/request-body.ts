import type { IncomingMessage } from 'node:http';
import { ApiError } from './api-error.ts';

const bodyLimit = 512 * 1024;

/** A parameter as it came: JSON keeps booleans, numbers and arrays; a repeated key is an array. */
export type RawValue = string | number | boolean | (string | number)[];
export type RawParams = Record<string, RawValue>;

/** Query and body together. `text` is the query string or an urlencoded body. */
export function parseUrlencoded(text: string): RawParams {
  const params: RawParams = {};
  for (const [key, value] of new URLSearchParams(text)) {
    const known = params[key];
    if (known === undefined) params[key] = value;
    else params[key] = Array.isArray(known) ? [...known, value] : [String(known), value];
  }
  return params;
}

export async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
    size += bytes.length;
    if (size > bodyLimit) throw new ApiError(501, `for data too large (>= ${bodyLimit} bytes)`, { lineEnd: false });
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** A body of the two accepted content types; none at all counts as urlencoded (recorded). */
export function parseBody(contentType: string | undefined, body: string): RawParams {
  const type = (contentType ?? 'application/x-www-form-urlencoded').split(';')[0]?.trim().toLowerCase();
  if (type === 'application/x-www-form-urlencoded') return parseUrlencoded(body);
  if (type !== 'application/json') throw new ApiError(506, 'unexpected content type', { lineEnd: false });
  return parseJson(body);
}

function parseJson(body: string): RawParams {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw new ApiError(
      500,
      'malformed JSON string, neither tag, array, object, number, string or atom, at character offset 0 (before "(end of string)")',
    );
  }
  const params: RawParams = {};
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return params;
  for (const [key, entry] of Object.entries(value)) {
    if (typeof entry === 'string' || typeof entry === 'number' || typeof entry === 'boolean') params[key] = entry;
    else if (Array.isArray(entry)) params[key] = entry.map(String);
  }
  return params;
}
