import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const hookSource = fileURLToPath(new URL('../../packaging/hook/felhom-vzdump-hook', import.meta.url));

/** One call that the hook made, as the agent sees it. */
export interface HookCall {
  path: string;
  fields: Record<string, string>;
}

/** What the double answers: a body with status 200, or whatever the function does with the response. */
export type HookAnswer = string | ((response: ServerResponse, call: HookCall) => void);

/** How a hook ended. `signal` is set when it was killed. */
export interface HookEnd {
  code: number | null;
  signal: NodeJS.Signals | null;
  output: string;
  tookMs: number;
}

export interface RunningHook {
  child: ChildProcess;
  output(): string;
  ended: Promise<HookEnd>;
}

/** A folder with the hook and its policy beside it, and an agent double that can be taken away and brought back. */
export interface Stage {
  folder: string;
  socket: string;
  calls: HookCall[];
  /** Starts the double. `answers` by path; a path without one gets `ok`. */
  listen(answers?: Record<string, HookAnswer>): Promise<void>;
  /** Ends the double with every open connection, as kill -9 would, and leaves the socket file behind. */
  vanish(): Promise<void>;
  policy(lines: Record<string, string>): void;
  script(name: string, text: string): string;
  start(args: readonly string[], environment?: Record<string, string>): RunningHook;
  run(args: readonly string[], environment?: Record<string, string>): Promise<HookEnd>;
  close(): Promise<void>;
}

/** What vzdump puts into the environment, and nothing else: no PATH. */
export const vzdumpEnvironment = {
  STOREID: 'bk',
  DUMPDIR: '/srv/bk/dump',
  VMTYPE: 'lxc',
  HOSTNAME: 'docker1',
  TARGET: '/srv/bk/dump/vzdump-lxc-101-2026_11_20-23_36_16.tar.zst',
  LOGFILE: '/srv/bk/dump/vzdump-lxc-101-2026_11_20-23_36_16.log',
};

export function openStage(): Stage {
  const folder = mkdtempSync(join(tmpdir(), 'felhom-hook-'));
  const socket = join(folder, 'agent.sock');
  const hook = join(folder, 'felhom-vzdump-hook');
  const calls: HookCall[] = [];
  const children = new Set<ChildProcess>();
  let server: Server | undefined;
  symlinkSync(hookSource, hook);

  const stage: Stage = {
    folder,
    socket,
    calls,
    listen: async (answers = {}) => {
      rmSync(socket, { force: true });
      server = createServer((request, response) => void respond(request, response, answers, calls));
      await new Promise<void>((done) => server?.listen(socket, done));
    },
    vanish: async () => {
      const gone = server;
      server = undefined;
      if (gone === undefined) return;
      const closed = new Promise<void>((done) => gone.close(() => done()));
      gone.closeAllConnections();
      await closed;
    },
    policy: (lines) => {
      const all = { socket, ...lines };
      writeFileSync(
        join(folder, 'hook.conf'),
        `${Object.entries(all)
          .map(([key, value]) => `${key}=${value}`)
          .join('\n')}\n`,
      );
    },
    script: (name, text) => {
      const path = join(folder, name);
      writeFileSync(path, text);
      chmodSync(path, 0o755);
      return path;
    },
    start: (args, environment = vzdumpEnvironment) => {
      const running = launch(hook, args, environment);
      children.add(running.child);
      return running;
    },
    run: async (args, environment) => await stage.start(args, environment).ended,
    close: async () => {
      await stage.vanish();
      for (const child of children) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    },
  };
  stage.policy({});
  return stage;
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  answers: Record<string, HookAnswer>,
  calls: HookCall[],
): Promise<void> {
  let body = '';
  for await (const chunk of request) body += String(chunk);
  const call = { path: request.url ?? '', fields: Object.fromEntries(new URLSearchParams(body)) };
  calls.push(call);
  const answer = answers[call.path] ?? 'ok';
  if (typeof answer === 'string') response.end(answer);
  else answer(response, call);
}

function launch(hook: string, args: readonly string[], environment: Record<string, string>): RunningHook {
  const begun = performance.now();
  const child = spawn(hook, [...args], { env: environment, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')));
  const ended = new Promise<HookEnd>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, output, tookMs: performance.now() - begun }));
  });
  return { child, output: () => output, ended };
}

/** Whether a process with this id exists and has not ended: a zombie waits only to be reaped. */
export function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z');
  } catch {
    // No such process.
    return false;
  }
}
