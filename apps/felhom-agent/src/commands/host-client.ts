import { request } from 'node:http';
import { Failure, type FailureCode, failures } from '@felhom/kernel/failure.ts';
import { z } from 'zod';

/** What `serve` answers on its socket: one JSON object. */
const errorSchema = z.object({ error: z.object({ code: z.string(), message: z.string(), hint: z.string() }) });

export interface HostCall<S extends z.ZodType> {
  method: 'GET' | 'POST' | 'DELETE';
  path: string;
  body?: unknown;
  answer: S;
  /** How long the answer may take. Default 30 s. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/**
 * Asks the agent that serves at `socket`.
 * @throws Failure `serve_absent` (exit 10) when nobody answers there, else the agent's own error.
 */
export async function askServe<S extends z.ZodType>(socket: string, call: HostCall<S>): Promise<z.output<S>> {
  const { status, text } = await exchange(socket, call);
  const value = parseJson(text);
  if (status >= 400) throw toFailure(value, status);
  const parsed = call.answer.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new Failure('agent_misbehaves', {
    message: `serve gave an answer that is not understood to ${call.method} ${call.path}`,
    hint: 'Agent and command are of different versions: systemctl restart felhom-agent',
  });
}

function exchange(socket: string, call: HostCall<z.ZodType>): Promise<{ status: number; text: string }> {
  const payload = call.body === undefined ? undefined : Buffer.from(JSON.stringify(call.body));
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        socketPath: socket,
        method: call.method,
        path: call.path,
        agent: false,
        timeout: call.timeoutMs ?? 30_000,
        headers: {
          Host: 'felhom',
          ...(payload === undefined ? {} : { 'Content-Type': 'application/json', 'Content-Length': payload.length }),
        },
        ...(call.signal === undefined ? {} : { signal: call.signal }),
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 500, text: Buffer.concat(chunks).toString('utf8') }),
        );
        response.on('error', (cause) => reject(absent(socket, cause)));
      },
    );
    sent.on('timeout', () => sent.destroy(new Error('no answer in time')));
    sent.on('error', (cause) => reject(call.signal?.aborted === true ? cause : absent(socket, cause)));
    sent.end(payload);
  });
}

function absent(socket: string, cause: Error): Failure {
  const denied = 'code' in cause && cause.code === 'EACCES';
  return new Failure('serve_absent', {
    message: denied
      ? `only root may ask the agent at ${socket}`
      : `no felhom-agent serve answers at ${socket}: ${cause.message}; guests keep running`,
    hint: denied ? 'Run it as root.' : 'Start it: systemctl start felhom-agent, or felhom-agent serve',
    cause,
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function toFailure(value: unknown, status: number): Failure {
  const parsed = errorSchema.safeParse(value);
  if (!parsed.success)
    return new Failure('agent_misbehaves', {
      message: `serve answered HTTP ${status} without saying why`,
      hint: 'journalctl -u felhom-agent',
    });
  const { code, message, hint } = parsed.data.error;
  return failureOf({ code, message, hint });
}

/** An error of the agent as a Failure: a code of our table keeps its exit code. */
export function failureOf({ code, message, hint }: { code: string; message: string; hint: string }): Failure {
  return new Failure(isCode(code) ? code : 'operation_failed', { message, hint });
}

function isCode(code: string): code is FailureCode {
  return code in failures;
}
