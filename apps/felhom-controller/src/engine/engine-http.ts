import { Failure } from '@felhom/kernel/failure.ts';
import { Pool } from 'undici';
import { z } from 'zod';

/** The API version we speak where the engine still does; a newer engine's lowest otherwise. 1.41: engine 20.10. */
const spokenVersion = '1.41';
const answerBytes = 64 * 1024 * 1024;

export interface EngineRequest {
  method: 'GET' | 'POST' | 'DELETE';
  /** From the first slash on, without the version. */
  path: string;
  query?: Readonly<Record<string, string>>;
  body?: unknown;
  headers?: Readonly<Record<string, string>>;
  boundMs: number;
}

export interface EngineAnswer {
  status: number;
  body: unknown;
}

const versionAnswer = z.object({
  Version: z.string(),
  ApiVersion: z.string(),
  MinAPIVersion: z.string().optional(),
  Components: z.array(z.object({ Name: z.string() })).optional(),
});
export type VersionAnswer = z.infer<typeof versionAnswer>;

const errorBody = z.object({ message: z.string() });

/** HTTP over the engine's unix socket. Connections are kept; a stop that takes its grace holds one of its own. */
export class EngineHttp {
  readonly #pool: Pool;
  readonly socketPath: string;
  #version: { prefix: string; answer: VersionAnswer } | null = null;

  constructor(socketPath: string) {
    this.socketPath = socketPath;
    this.#pool = new Pool('http://docker', { socketPath, pipelining: 1, keepAliveTimeout: 30_000 });
  }

  /** Asks which engine this is and which version to speak; remembered until a connection fails. */
  async version(boundMs: number): Promise<VersionAnswer> {
    return (await this.#negotiated(boundMs)).answer;
  }

  /** One call. Statuses are values; a connection that fails or a bound that passes is `docker_unreachable`. */
  async call(request: EngineRequest): Promise<EngineAnswer> {
    const { prefix } = await this.#negotiated(Math.min(request.boundMs, 10_000));
    return this.#send(prefix, request);
  }

  /** A body that is read as it comes. The bound is for the answer's head; `signal` ends the body. */
  async open(
    request: EngineRequest,
    signal: AbortSignal,
  ): Promise<{ status: number; body: AsyncIterable<Uint8Array> }> {
    const { prefix } = await this.#negotiated(Math.min(request.boundMs, 10_000));
    try {
      const answer = await this.#pool.request({
        method: request.method,
        path: withQuery(prefix + request.path, request.query),
        headersTimeout: request.boundMs,
        bodyTimeout: 0,
        signal,
        ...bodyOf(request),
      });
      return { status: answer.statusCode, body: answer.body };
    } catch (error) {
      throw this.#unreachable(error, request);
    }
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }

  async #negotiated(boundMs: number): Promise<{ prefix: string; answer: VersionAnswer }> {
    if (this.#version !== null) return this.#version;
    const answer = await this.#send('', { method: 'GET', path: '/version', boundMs });
    const parsed = versionAnswer.safeParse(answer.body);
    if (answer.status !== 200 || !parsed.success) {
      throw new Failure('docker_unsupported', {
        message: `what listens on ${this.socketPath} does not answer as a docker engine does`,
        hint: 'Point DOCKER_HOST at the socket of a docker engine: DOCKER_HOST=unix:///var/run/docker.sock',
      });
    }
    refusePodman(parsed.data, this.socketPath);
    this.#version = { prefix: `/v${chooseVersion(parsed.data)}`, answer: parsed.data };
    return this.#version;
  }

  async #send(prefix: string, request: EngineRequest): Promise<EngineAnswer> {
    try {
      const answer = await this.#pool.request({
        method: request.method,
        path: withQuery(prefix + request.path, request.query),
        headersTimeout: request.boundMs,
        bodyTimeout: request.boundMs,
        signal: AbortSignal.timeout(request.boundMs),
        ...bodyOf(request),
      });
      return { status: answer.statusCode, body: await readBody(answer.body) };
    } catch (error) {
      this.#version = null;
      throw this.#unreachable(error, request);
    }
  }

  #unreachable(error: unknown, request: EngineRequest): Failure {
    if (error instanceof Failure) return error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'no answer';
    const late = error instanceof Error && error.name === 'TimeoutError';
    return new Failure('docker_unreachable', {
      message: late
        ? `docker did not answer ${request.method} ${request.path} within ${request.boundMs} ms`
        : `docker does not answer on ${this.socketPath} (${code})`,
      hint:
        code === 'EACCES'
          ? 'Run as root, or as a member of the group docker.'
          : 'Look at: systemctl status docker; docker info',
      cause: error,
    });
  }
}

/** The oldest version that we know and the engine still speaks: old paths keep their meaning the longest. */
export function chooseVersion({ ApiVersion, MinAPIVersion }: VersionAnswer): string {
  if (compareVersions(ApiVersion, spokenVersion) < 0) return ApiVersion;
  if (MinAPIVersion !== undefined && compareVersions(MinAPIVersion, spokenVersion) > 0) return MinAPIVersion;
  return spokenVersion;
}

function compareVersions(left: string, right: string): number {
  const [leftMajor = 0, leftMinor = 0] = left.split('.').map(Number);
  const [rightMajor = 0, rightMinor = 0] = right.split('.').map(Number);
  return leftMajor - rightMajor || leftMinor - rightMinor;
}

function refusePodman(answer: VersionAnswer, socketPath: string): void {
  if (answer.Components?.some((part) => part.Name.toLowerCase().includes('podman')) !== true) return;
  throw new Failure('docker_unsupported', {
    message: `${socketPath} belongs to podman ${answer.Version}, which keeps other promises about stops and restarts; nothing was stopped`,
    hint: 'Felhom needs a docker engine: point DOCKER_HOST at one, or take the backup on the host: felhom-agent backup now --without-quiesce VMID',
  });
}

/** Text of an error answer: the engine's own words. */
export function errorText(answer: EngineAnswer): string {
  const parsed = errorBody.safeParse(answer.body);
  return parsed.success ? parsed.data.message : `status ${answer.status}`;
}

function bodyOf(request: EngineRequest): { body?: string; headers: Record<string, string> } {
  const headers = { ...request.headers };
  if (request.body === undefined) return { headers };
  return { body: JSON.stringify(request.body), headers: { ...headers, 'content-type': 'application/json' } };
}

function withQuery(path: string, query: Readonly<Record<string, string>> | undefined): string {
  return query === undefined ? path : `${path}?${new URLSearchParams(query).toString()}`;
}

async function readBody(body: AsyncIterable<Uint8Array>): Promise<unknown> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of body) {
    size += part.byteLength;
    if (size > answerBytes) throw new Error(`an answer of more than ${answerBytes} bytes`);
    parts.push(part);
  }
  const text = Buffer.concat(parts).toString('utf8');
  if (text === '') return null;
  try {
    return JSON.parse(text);
  } catch {
    // Some engines answer an error as plain text.
    return { message: text.slice(0, 500) };
  }
}
