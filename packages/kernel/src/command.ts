/** What one run of a program takes. There is no shell anywhere: arguments are passed as they are. */
export interface CommandOptions {
  /** Written to standard input, which is then closed. Nothing: standard input is /dev/null. */
  input?: string;
  cwd?: string;
  /** The whole environment of the child. Default: ours. */
  env?: Record<string, string>;
  /** After this long the whole process group is ended (SIGTERM, 2 s later SIGKILL). */
  timeoutMs: number;
  /** Ends the process group the same way. */
  signal?: AbortSignal;
  /** Descriptors of ours that the child inherits as 3, 4, …: how children come to hold a lock with us. */
  inheritFds?: readonly number[];
  /** Bytes of stdout and of stderr that are kept. Default 4 MiB each; the rest is read and dropped. */
  maxOutputBytes?: number;
  /** Takes stdout as it comes, in order; nothing of it is kept then. */
  onStdout?: (chunk: Uint8Array) => void;
}

/** How a program ended. A program that could not be started has `exitCode: null` and `spawnError`. */
export interface CommandResult {
  exitCode: number | null;
  signal: string | null;
  timedOut: boolean;
  stdout: string;
  stderr: string;
  spawnError?: { code: string; message: string };
}

/** The one door to programs. Never throws for what the program did: the result says it. */
export interface CommandRunner {
  run(file: string, args: readonly string[], options: CommandOptions): Promise<CommandResult>;
}
