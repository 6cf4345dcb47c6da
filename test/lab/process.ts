import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';

/** How a program ended, with everything it printed. */
export interface RunEnd {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  tookMs: number;
}

export interface RunRequest {
  cwd?: string;
  /** The whole environment. Default: ours. */
  env?: NodeJS.ProcessEnv;
  input?: string;
  /** After this long the program is killed and the run fails. Default two minutes. */
  boundMs?: number;
}

/** Runs a program to its end. Does not throw for what the program did, only when it exceeds its bound or cannot be started. */
export async function run(file: string, args: readonly string[], request: RunRequest = {}): Promise<RunEnd> {
  const begun = performance.now();
  const child = spawn(file, [...args], {
    cwd: request.cwd,
    env: request.env ?? process.env,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const texts = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (texts.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (texts.stderr += text));
  child.stdin.on('error', () => undefined);
  child.stdin.end(request.input ?? '');
  const boundMs = request.boundMs ?? 120_000;
  let late = false;
  const bound = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
  }, boundMs);
  const { code, signal } = await ended(child).finally(() => clearTimeout(bound));
  const end = { code, signal, ...texts, tookMs: performance.now() - begun };
  if (late) throw new Error(`${commandLine(file, args)}: not over after ${boundMs} ms\n${end.stdout}${end.stderr}`);
  return end;
}

/** As `run`, and throws with the output unless the program ended 0. Returns what it printed to stdout. */
export async function must(file: string, args: readonly string[], request: RunRequest = {}): Promise<string> {
  const end = await run(file, args, request);
  if (end.code !== 0) {
    throw new Error(`${commandLine(file, args)}: ended ${end.signal ?? end.code}\n${end.stdout}${end.stderr}`);
  }
  return end.stdout;
}

/** A program that goes on beside us. Both its streams go to one file, so that it never waits for us to read. */
export interface Background {
  child: ChildProcess;
  pid: number;
  /** What it printed so far. */
  output(): string;
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  hasEnded(): boolean;
  /** SIGTERM, after `graceMs` SIGKILL; resolves when it is gone. */
  stop(graceMs?: number): Promise<void>;
}

export interface BackgroundRequest {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Appended to. */
  logFile: string;
}

/** Starts a program as leader of a session of its own: what a person does to our terminal does not reach it. */
export function startInBackground(file: string, args: readonly string[], request: BackgroundRequest): Background {
  const log = openSync(request.logFile, 'a');
  const child = spawn(file, [...args], {
    cwd: request.cwd,
    env: request.env ?? process.env,
    stdio: ['ignore', log, log],
    detached: true,
  });
  closeSync(log);
  const end = ended(child);
  // A program that cannot be started is told to whoever awaits `ended`.
  end.catch(() => undefined);
  const hasEnded = (): boolean => child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
  return {
    child,
    pid: child.pid ?? -1,
    output: () => readFileSync(request.logFile, 'utf8'),
    ended: end,
    hasEnded,
    stop: async (graceMs = 5_000) => {
      if (hasEnded()) return;
      child.kill('SIGTERM');
      const hard = setTimeout(() => child.kill('SIGKILL'), graceMs);
      await end.finally(() => clearTimeout(hard));
    },
  };
}

async function ended(child: ChildProcess): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  return await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal }));
  });
}

function commandLine(file: string, args: readonly string[]): string {
  return [file, ...args].map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : JSON.stringify(word))).join(' ');
}
