import { Failure } from '@felhom/kernel/failure.ts';
import { type Checked, checkRecord, type EndUse } from './journal-file.ts';
import type { Schema } from './schema.ts';
import { unwritable } from './unwritable.ts';

/*
 * What one process does with one journal, whether it is the only writer of it or one of several.
 *
 * Invariants
 * - One piece of work at a time, in the order in which it was asked for.
 * - Once nothing is known of the file any more, nothing is done with it any more: `onFatal` is called once (it ends the
 *   process), and all that comes is refused with the same failure.
 */

export interface JournalUseOptions<R> {
  path: string;
  schema: Schema<R>;
  onFatal: (failure: Failure) => void;
}

export class JournalUse<R> {
  readonly #options: JournalUseOptions<R>;
  #last: Promise<unknown> = Promise.resolve();
  #ended: Failure | null = null;
  #closing: Promise<void> | null = null;

  constructor(options: JournalUseOptions<R>) {
    this.#options = options;
  }

  get isEnded(): boolean {
    return this.#ended !== null;
  }

  get isClosing(): boolean {
    return this.#closing !== null;
  }

  /** Runs one piece of work after all that was asked for before. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work);
    this.#last = mine.catch(() => undefined); // Its caller hears of it; the next one is not concerned.
    return mine;
  }

  /** Runs `work` as the last piece of all. Twice is once. */
  close(work: () => Promise<void>): Promise<void> {
    this.#closing ??= this.inTurn(work);
    return this.#closing;
  }

  /** Throws Failure `bug` for a record that does not fit. */
  check(value: R): Checked<R> {
    return checkRecord(this.#options.path, this.#options.schema, value);
  }

  /** Throws Failure `bug` once it is closed. */
  requireOpen(): void {
    if (this.#closing === null) return;
    throw new Failure('bug', {
      message: `${this.#options.path} was used after it was closed`,
      hint: 'This is a defect. Please report it with this message.',
    });
  }

  /** Throws what ended its use. */
  requireAlive(): void {
    if (this.#ended !== null) throw this.#ended;
  }

  readonly end: EndUse = (what, cause) => {
    const { path, onFatal } = this.#options;
    this.#ended = unwritable(path, `${what} The process ends, so that it is read again from the disk.`, cause);
    onFatal(this.#ended);
    throw this.#ended;
  };
}
