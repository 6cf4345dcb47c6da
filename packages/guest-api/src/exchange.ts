import type { Agent } from 'undici';
import type { z } from 'zod';
import { AgentError } from './agent-api.ts';
import { errorOfConnection, misbehaves, type RawAnswer } from './agent-errors.ts';
import { apiVersion, headers, limits } from './schema.ts';

export interface AgentTimeouts {
  /** To a connection, TLS included. Default 5 s. */
  connectMs: number;
  /** To the end of an answer, above what a long poll waits. Default 15 s. */
  answerMs: number;
}

/** One call of the contract, before anybody is asked. */
export interface Call<S extends z.ZodType> {
  method: 'GET' | 'POST' | 'DELETE';
  path: string;
  answer: S;
  body?: unknown;
  idempotencyKey?: string;
  onlyIfDue?: boolean;
  waitSeconds?: number;
  signal?: AbortSignal | undefined;
}

/** An agent of the list, with its own connections. */
export interface OpenAgent {
  url: string;
  dispatcher: Agent;
}

/** Who we say we are. */
export interface Presented {
  token: string;
  bootId: string;
  bootStarted?: string | null;
  /** The generation in force; null before the first contact. */
  presented: string | null;
}

/** Sends one request and reads the whole bounded answer. Errors are `AgentError`s, or the caller's abort reason. */
export async function exchange<S extends z.ZodType>(
  agent: OpenAgent,
  call: Call<S>,
  who: Presented,
  timeouts: AgentTimeouts,
): Promise<{ answer: RawAnswer; nextGeneration: string | undefined }> {
  const limit = AbortSignal.timeout(timeouts.connectMs + timeouts.answerMs + (call.waitSeconds ?? 0) * 1_000);
  const signal = call.signal === undefined ? limit : AbortSignal.any([limit, call.signal]);
  try {
    const response = await agent.dispatcher.request({
      origin: agent.url,
      path: call.path,
      method: call.method,
      headers: requestHeaders(call, who),
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      signal,
    });
    const contentType = headerText(response.headers['content-type']) ?? '';
    const answer = { url: agent.url, status: response.statusCode, contentType };
    const text = await readBounded(response.body, answer);
    return { answer: { ...answer, text }, nextGeneration: headerText(response.headers[headers.nextGeneration]) };
  } catch (error) {
    if (error instanceof AgentError) throw error;
    if (call.signal?.aborted === true) throw call.signal.reason;
    throw errorOfConnection(
      agent.url,
      limit.aborted ? new Error('it did not answer in time', { cause: error }) : error,
    );
  }
}

function requestHeaders(
  call: Call<z.ZodType>,
  { token, bootId, bootStarted = null, presented }: Presented,
): Record<string, string> {
  return {
    accept: 'application/json',
    authorization: `Bearer ${token}`,
    [headers.api]: String(apiVersion),
    [headers.bootId]: bootId,
    ...(bootStarted === null ? {} : { [headers.bootStarted]: bootStarted }),
    [headers.generation]: presented ?? '0',
    ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
    ...(call.idempotencyKey === undefined ? {} : { [headers.idempotencyKey]: call.idempotencyKey }),
    ...(call.onlyIfDue === true ? { [headers.onlyIfDue]: '1' } : {}),
  };
}

function headerText(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

async function readBounded(body: AsyncIterable<Uint8Array>, answer: Omit<RawAnswer, 'text'>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.byteLength;
    if (bytes > limits.bodyBytes) throw misbehaves({ ...answer, text: '' }, `sent more than ${limits.bodyBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
