import { writeSync } from 'node:fs';
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

const busyRetries = 200;
const busyWaitMs = 5;

/**
 * An output over a file descriptor, written synchronously: what was written before `kill -9` has
 * been written. A pipe whose reader is slow (EAGAIN) is waited for, 1 s at most; every other error
 * ends this output for good.
 */
export function descriptorOutput(fd: 1 | 2): Output {
  const stream = fd === 1 ? process.stdout : process.stderr;
  // A write to a closed pipe is also reported as an event, which would end the process unheard.
  stream.on('error', () => {});
  let broken = false;
  return {
    isTerminal: stream.isTTY === true,
    get columns() {
      return stream.columns ?? 80;
    },
    write: (text) => {
      if (!broken) broken = !writeAll(fd, redact(text));
    },
  };
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
