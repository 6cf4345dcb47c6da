import { readdir, readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import type { CommandOptions, CommandResult, CommandRunner } from './command.ts';

/*
 * Invariants
 * - Every child leads a process group of its own: Ctrl-C on our terminal does not reach a resume that is under way,
 *   and a time limit ends the program with everything it started (a limit on the direct child leaves grandchildren).
 * - run() ends within its time limit and a few seconds, whoever still holds the pipes.
 * - Output beyond the bound is read and dropped: a program is never ended, or stopped by a full pipe, for talking much.
 */

const killAfterMs = 2_000;
const lookEveryMs = 25;
const lastWordsMs = 100;
const defaultMaxOutputBytes = 4 * 1024 * 1024;

/** The real command runner. */
export const systemCommands: CommandRunner = {
  run: async (file, args, options) => {
    const child = execa(file, args, {
      reject: false,
      detached: true,
      cleanup: false,
      buffer: false,
      extendEnv: options.env === undefined,
      ...(options.env === undefined ? {} : { env: options.env }),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.input === undefined ? {} : { input: options.input }),
      stdio: standardStreams(options),
    });
    const stdout =
      options.onStdout === undefined ? keepFirst(child.stdout, options) : handOn(child.stdout, options.onStdout);
    const stderr = keepFirst(child.stderr, options);
    let timedOut = false;
    const ending: Promise<void>[] = [];
    const end = (): void => {
      if (ending.length === 0) ending.push(endGroup(child.pid, [child.stdout, child.stderr]));
    };
    const limit = setTimeout(() => {
      timedOut = true;
      end();
    }, options.timeoutMs);
    options.signal?.addEventListener('abort', end, { once: true });
    if (options.signal?.aborted === true) end();
    try {
      const ended = await child;
      await Promise.all(ending);
      return { ...toEnd(ended), timedOut, stdout: stdout(), stderr: stderr() };
    } finally {
      clearTimeout(limit);
      options.signal?.removeEventListener('abort', end);
    }
  },
};

type StandardStreams = ['ignore' | 'pipe', 'pipe', 'pipe'];

/** Descriptors from 3 up are passed as plain numbers, which execa does but does not declare. */
function standardStreams(options: CommandOptions): StandardStreams {
  const streams: (string | number)[] = [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'];
  return [...streams, ...(options.inheritFds ?? [])] as StandardStreams;
}

/** Reads a stream to its end and keeps its beginning. */
function keepFirst(stream: Readable, { maxOutputBytes = defaultMaxOutputBytes }: CommandOptions): () => string {
  const chunks: Buffer[] = [];
  let room = maxOutputBytes;
  stream.on('data', (chunk: Buffer) => {
    if (room > 0) chunks.push(chunk.subarray(0, room));
    room -= chunk.length;
  });
  stream.on('error', () => undefined); // We destroyed it ourselves; how the program ended says the rest.
  return () => Buffer.concat(chunks).toString('utf8');
}

/** Hands a stream on as it comes. */
function handOn(stream: Readable, take: (chunk: Uint8Array) => void): () => string {
  stream.on('data', (chunk: Buffer) => take(chunk));
  stream.on('error', () => undefined); // As above.
  return () => '';
}

/** SIGTERM, then SIGKILL for what is left of the group; then nobody's pipes keep us waiting. */
async function endGroup(pid: number | undefined, pipes: readonly Readable[]): Promise<void> {
  if (pid === undefined) return;
  signalGroup(pid, 'SIGTERM');
  const deadline = performance.now() + killAfterMs;
  while ((await groupLives(pid)) && performance.now() < deadline) await delay(lookEveryMs);
  signalGroup(pid, 'SIGKILL');
  await delay(lastWordsMs); // What the dead wrote is still in the pipes.
  for (const pipe of pipes) pipe.destroy(); // A process that left the group may hold them for ever.
}

/** Signals the process group led by `pid`; false when it is gone, which is what we wanted. */
function signalGroup(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-pid, signal);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}

/** Whether anybody of the group still runs. The dead whom nobody reaped yet do not count (proc(5): state Z or X). */
async function groupLives(group: number): Promise<boolean> {
  if (!signalGroup(group, 0)) return false;
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const stats = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ''))); // It ended.
  return stats.some((stat) => {
    const [state, , itsGroup] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return itsGroup === String(group) && state !== 'Z' && state !== 'X';
  });
}

interface ExecaEnd {
  exitCode?: number | undefined;
  signal?: string | undefined;
  code?: string | undefined;
  shortMessage?: string | undefined;
}

function toEnd(end: ExecaEnd): Pick<CommandResult, 'exitCode' | 'signal' | 'spawnError'> {
  const started = end.exitCode !== undefined || end.signal !== undefined;
  return {
    exitCode: end.exitCode ?? null,
    signal: end.signal ?? null,
    ...(started
      ? {}
      : { spawnError: { code: end.code ?? 'UNKNOWN', message: end.shortMessage ?? 'could not be started' } }),
  };
}
