import { mkdir, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { Failure } from '@felhom/kernel/failure.ts';
import type { HookGate } from '../backup/hook-gate.ts';
import { handleHook } from './hook-socket.ts';
import type { HostCommands } from './host-commands.ts';
import { type Answer, HttpProblem, listener, readBody, urlOf } from './http.ts';

const maxBytes = 64 * 1024;

/**
 * The root-only unix socket: mode 0600 from its first moment, so that whoever can connect is root.
 * It carries the hook's calls and the commands of the host.
 */
export function createHostServer(hook: HookGate, commands: HostCommands): Server {
  const server = createServer(
    { requestTimeout: 10_000, headersTimeout: 5_000 },
    listener(async (request, gone) => {
      const url = urlOf(request);
      if (request.method === 'POST' && url.pathname.startsWith('/hook/'))
        return await handleHook(hook, request, url.pathname, gone);
      return await handleHost(commands, request, url, gone);
    }),
  );
  server.maxConnections = 128;
  return server;
}

async function handleHost(
  commands: HostCommands,
  request: IncomingMessage,
  url: URL,
  gone: AbortSignal,
): Promise<Answer> {
  const call = `${request.method ?? ''} ${url.pathname}`;
  if (call === 'GET /host/status') return ok(await commands.status());
  if (call === 'GET /host/jobs') return ok(commands.jobs());
  if (call === 'GET /host/guests') return ok(await commands.guests());
  if (call === 'GET /host/metrics') return { status: 200, type: 'text', body: commands.metrics() };
  if (call === 'GET /host/backup/due') return ok(await commands.due(vmidsOf(url)));
  if (call === 'POST /host/backup') return { status: 202, body: await commands.startBackups(await jsonBody(request)) };
  if (call === 'GET /host/backup/status') {
    const { searchParams } = url;
    const wait = Math.min(60, Math.max(0, Number(searchParams.get('wait') ?? '0') || 0));
    return ok(
      await commands.jobStatus(searchParams.get('job_id') ?? '', {
        after: Number(searchParams.get('after') ?? '-1'),
        waitMs: wait * 1000,
        signal: gone,
      }),
    );
  }
  const cancel = /^DELETE \/host\/backup\/([A-Za-z0-9_-]{1,64})$/.exec(call);
  if (cancel !== null) return ok(await commands.cancel(cancel[1] ?? '', url.searchParams.get('force') === '1'));
  const adopt = /^POST \/host\/guests\/(\d{3,9})\/adopt$/.exec(call);
  if (adopt !== null) return ok(await commands.adopt(Number(adopt[1]), await jsonBody(request)));
  const restored = /^POST \/host\/guests\/(\d{3,9})\/restored$/.exec(call);
  if (restored !== null) return ok(await commands.restored(Number(restored[1])));
  const hold = /^POST \/host\/guests\/(\d{3,9})\/(hold|release)$/.exec(call);
  if (hold?.[2] === 'hold') return ok(await commands.hold(Number(hold[1]), await jsonBody(request)));
  if (hold !== null) return ok(await commands.release(Number(hold[1])));
  throw new HttpProblem(404, {
    code: 'not_found',
    message: `there is no ${call}`,
    hint: 'Agent and command are of different versions: restart felhom-agent serve.',
  });
}

function ok(body: unknown): Answer {
  return { status: 200, body };
}

function vmidsOf(url: URL): number[] {
  return url.searchParams.getAll('vmid').map(Number).filter(Number.isInteger);
}

async function jsonBody(request: IncomingMessage): Promise<unknown> {
  const text = await readBody(request, maxBytes);
  try {
    return text === '' ? {} : JSON.parse(text);
  } catch {
    throw new HttpProblem(400, { code: 'usage', message: 'the body is not JSON', hint: 'Send one JSON object.' });
  }
}

/**
 * Listens at `path`. A socket file that nobody answers at is a dead agent's, and is replaced; the
 * folder is made 0755 so that a permission error tells of the socket, not of the folder.
 * @throws Failure `busy` when another agent answers there.
 */
export async function listenAt(server: Server, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  if (await answers(path)) {
    throw new Failure('busy', {
      message: `another felhom-agent serve answers at ${path}; this one did not start`,
      hint: 'Stop that one, or name another socket in agent.yaml.',
    });
  }
  await rm(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // The socket is made within this very call: nothing else of this process makes a file under that umask.
    const before = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(before);
    }
  });
}

async function answers(path: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(path);
    const end = (alive: boolean): void => {
      socket.destroy();
      resolve(alive);
    };
    socket.setTimeout(2_000, () => end(true));
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}
