import { execa } from 'execa';
import type { CommandOptions, CommandResult, CommandRunner } from './command.ts';

const killAfterMs = 2_000;
const defaultMaxOutputBytes = 4 * 1024 * 1024;

/**
 * The real command runner. Every child leads a process group of its own (`detached`), so that
 * Ctrl-C on our terminal does not reach a resume that is under way, and so that a time limit ends
 * the program with everything it started: a time limit on the direct child alone leaves
 * grandchildren that hold the pipes open.
 */
export const systemCommands: CommandRunner = {
  run: async (file, args, options) => {
    const child = execa(file, args, {
      reject: false,
      detached: true,
      cleanup: false,
      stripFinalNewline: false,
      extendEnv: options.env === undefined,
      ...(options.env === undefined ? {} : { env: options.env }),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.input === undefined ? {} : { input: options.input }),
      maxBuffer: options.maxOutputBytes ?? defaultMaxOutputBytes,
      stdio: standardStreams(options),
    });
    let timedOut = false;
    let hardKill: NodeJS.Timeout | undefined;
    const endGroup = (): void => {
      signalGroup(child.pid, 'SIGTERM');
      hardKill ??= setTimeout(() => signalGroup(child.pid, 'SIGKILL'), killAfterMs);
    };
    const limit = setTimeout(() => {
      timedOut = true;
      endGroup();
    }, options.timeoutMs);
    options.signal?.addEventListener('abort', endGroup, { once: true });
    if (options.signal?.aborted === true) endGroup();
    try {
      return toResult(await child, timedOut);
    } finally {
      clearTimeout(limit);
      clearTimeout(hardKill);
      options.signal?.removeEventListener('abort', endGroup);
    }
  },
};

type StandardStreams = ['ignore' | 'pipe', 'pipe', 'pipe'];

/** Descriptors from 3 up are passed as plain numbers, which execa does but does not declare. */
function standardStreams(options: CommandOptions): StandardStreams {
  const streams: (string | number)[] = [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'];
  return [...streams, ...(options.inheritFds ?? [])] as StandardStreams;
}

/** Signals the process group led by `pid`; a group that is gone already is what we wanted. */
function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

interface ExecaEnd {
  exitCode?: number | undefined;
  signal?: string | undefined;
  code?: string | undefined;
  stdout?: unknown;
  stderr?: unknown;
  shortMessage?: string | undefined;
}

function toResult(end: ExecaEnd, timedOut: boolean): CommandResult {
  const started = end.exitCode !== undefined || end.signal !== undefined;
  return {
    exitCode: end.exitCode ?? null,
    signal: end.signal ?? null,
    timedOut,
    stdout: typeof end.stdout === 'string' ? end.stdout : '',
    stderr: typeof end.stderr === 'string' ? end.stderr : '',
    ...(started ? {} : { spawnError: { code: end.code ?? 'UNKNOWN', message: end.shortMessage ?? 'could not be started' } }),
  };
}
