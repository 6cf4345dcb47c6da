import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';

/** The worker was told to end (SIGTERM): what is under way fails with this, then everything is cleaned up. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  constructor() {
    super('interrupted by signal');
  }
}

export interface ProgramOptions {
  /** How the command is named when it fails. Default: program and arguments. */
  label?: string;
  env?: Record<string, string>;
  /** Each line of its output, without the line end. */
  line?: (text: string) => void;
  signal?: AbortSignal;
}

/** Runs a program to its end. Fails with vzdump's words: `command '…' failed: exit code 3`, `… interrupted by signal`. */
export async function runProgram(file: string, args: readonly string[], options: ProgramOptions = {}): Promise<void> {
  const label = options.label ?? [file, ...args].join(' ');
  if (options.signal?.aborted === true) throw new Error(`command '${label}' failed: interrupted by signal`);
  const child = spawn(file, args, {
    cwd: '/',
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(options.env === undefined ? {} : { env: options.env }),
  });
  const end = (): void => void child.kill('SIGTERM');
  options.signal?.addEventListener('abort', end, { once: true });
  try {
    readLines(child, options.line);
    const problem = await ended(child, options.signal);
    if (problem !== null) throw new Error(`command '${label}' failed: ${problem}`);
  } finally {
    options.signal?.removeEventListener('abort', end);
  }
}

/** Resolves after `ms` or rejects with Interrupted. */
export async function wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted === true) throw new Interrupted();
  if (ms <= 0) return;
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal });
  } catch {
    throw new Interrupted(); // an aborted timer is the only way it rejects
  }
}

function readLines(child: ChildProcess, line: ((text: string) => void) | undefined): void {
  for (const stream of [child.stdout, child.stderr]) {
    let rest = '';
    stream?.setEncoding('utf8');
    stream?.on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const text of lines) line?.(text);
    });
    stream?.on('end', () => {
      if (rest !== '') line?.(rest);
    });
  }
}

/** What was wrong with its end; null when it ended with 0. Waits for its output to be closed too. */
async function ended(child: ChildProcess, signal: AbortSignal | undefined): Promise<string | null> {
  const end = await new Promise<{ code: number | null; by: NodeJS.Signals | null; error?: Error }>((resolve) => {
    child.once('error', (error) => resolve({ code: null, by: null, error }));
    child.once('close', (code, by) => resolve({ code, by }));
  });
  if (end.error !== undefined) return end.error.message;
  // The signal goes to the whole process group: the child may be gone before our own handler ran.
  if (end.by === 'SIGTERM') await delay(5);
  if (signal?.aborted === true) return 'interrupted by signal';
  if (end.by !== null) return `got signal ${end.by === 'SIGKILL' ? 9 : 15}`;
  return end.code === 0 ? null : `exit code ${end.code}`;
}
