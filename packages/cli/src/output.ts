import { redact } from '@felhom/kernel/redact.ts';

/**
 * Where text for a person or a program goes. Writing never throws: a closed terminal, a broken pipe
 * or a full log disk ends the *display*, never the work that it shows.
 */
export interface Output {
  /** Writes `text` as it is (a secret in it excepted). */
  write(text: string): void;
  /** True on a terminal that a person looks at. */
  readonly isTerminal: boolean;
  /** Columns of the terminal; 80 where there is none. */
  readonly columns: number;
}

/** Not imported: an import reads every export of node:fs, and with it loads fs/promises, which --help can do without. */
const { writeSync } = process.getBuiltinModule('node:fs');

const busyRetries = 200;
const busyWaitMs = 5;

/**
 * An output over a file descriptor, written synchronously: what was written before `kill -9` has
 * been written. A pipe whose reader is slow (EAGAIN) is waited for, 1 s at most; every other error
 * ends this output for good.
 */
export function descriptorOutput(fd: 1 | 2): Output {
  let broken = false;
  return {
    // Node opens its stream when it is first touched, so it is touched only by what draws.
    get isTerminal() {
      return streamOf(fd).isTTY === true;
    },
    get columns() {
      // A terminal that was given no size says 0.
      const { columns } = streamOf(fd);
      return columns === undefined || columns === 0 ? 80 : columns;
    },
    write: (text) => {
      if (!broken) broken = !writeAll(fd, redact(text));
    },
  };
}

function streamOf(fd: 1 | 2): NodeJS.WriteStream {
  return fd === 1 ? process.stdout : process.stderr;
}

/** False when the descriptor takes no more text. */
function writeAll(fd: number, text: string): boolean {
  let rest = Buffer.from(text, 'utf8');
  let retries = 0;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      const busy = error instanceof Error && 'code' in error && error.code === 'EAGAIN';
      if (!busy || retries >= busyRetries) return false;
      retries += 1;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, busyWaitMs);
    }
  }
  return true;
}

/** An output that keeps what was written, for tests and for transcripts. */
export function memoryOutput({ isTerminal = false, columns = 80 } = {}): Output & { text(): string } {
  let all = '';
  return {
    isTerminal,
    columns,
    write: (text) => {
      all += redact(text);
    },
    text: () => all,
  };
}
