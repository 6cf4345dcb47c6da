import { constants } from 'node:fs';
import { Failure } from '@felhom/kernel/failure.ts';
import type { Disk, DiskFile } from './disk.ts';
import type { Journal, JournalOptions } from './journal.ts';
import {
  appendBytes,
  type Checked,
  checkRecord,
  type EndUse,
  keptStretches,
  replaceJournal,
  requireNamed,
} from './journal-file.ts';
import { type Parsed, recordsOf, type Stretch } from './journal-format.ts';
import type { RunLock } from './run-lock.ts';
import { unwritable } from './unwritable.ts';

/*
 * Invariants
 * - append() resolves only after its record is on the disk: one write and one fdatasync, shared by all that wait.
 * - One writer: the lock is held from open to close, and before every append, cut and compaction the open inode is
 *   compared with the one that the path names. A record is never written into a file that was replaced.
 * - A short append is truncated back before anybody hears of it. Where that fails, or a sync fails, nothing is known of
 *   the file any more: onFatal is called (it ends the process) and nothing is ever appended again.
 * - Compaction is a whole-file replace: the journal is the old one or the new one. Records that we do not understand
 *   are kept as they are, where they are; damaged stretches are moved to `PATH.damaged`.
 */

export interface WriterParts<R> extends JournalOptions<R> {
  disk: Disk;
  lock: RunLock;
  file: DiskFile;
  parsed: Parsed<R>;
}

interface Waiting<R> extends Checked<R> {
  resolve: () => void;
  reject: (why: unknown) => void;
}

/** The journal over an open file whose tail is intact. Whoever makes one hands over the file and the lock. */
export class JournalWriter<R> implements Journal<R> {
  readonly problems: readonly string[];
  readonly #options: WriterParts<R>;
  #file: DiskFile;
  #stretches: Stretch<R>[];
  #records: R[];
  #sizeBytes: number;
  /** Compacted by itself once it is larger. */
  #limitBytes: number;
  #waiting: Waiting<R>[] = [];
  #last: Promise<unknown> = Promise.resolve();
  #ended: Failure | null = null;
  #closing: Promise<void> | null = null;

  constructor(parts: WriterParts<R>) {
    this.problems = parts.parsed.problems;
    this.#options = parts;
    this.#file = parts.file;
    this.#stretches = parts.parsed.stretches;
    this.#records = recordsOf(parts.parsed.stretches);
    this.#sizeBytes = parts.parsed.intactBytes;
    this.#limitBytes = parts.compactAboveBytes ?? Number.POSITIVE_INFINITY;
  }

  records(): readonly R[] {
    return this.#records;
  }

  append(record: R): Promise<void> {
    if (this.#closing !== null) return Promise.reject(this.#closedAlready());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ...this.#check(record), resolve, reject });
      if (this.#waiting.length === 1) void this.#inTurn(() => this.#flush());
    });
  }

  compact(): Promise<void> {
    if (this.#closing !== null) return Promise.reject(this.#closedAlready());
    return this.#inTurn(() => this.#compact()).finally(() => this.#measureAnew());
  }

  close(): Promise<void> {
    this.#closing ??= this.#inTurn(async () => {
      await this.#file.close();
      await this.#options.lock.release();
    });
    return this.#closing;
  }

  /** Runs one piece of work after all that was asked for before. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work);
    this.#last = mine.catch(() => undefined); // Its caller hears of it; the next one is not concerned.
    return mine;
  }

  async #flush(): Promise<void> {
    const batch = this.#waiting;
    this.#waiting = [];
    try {
      await this.#write(Buffer.concat(batch.map(({ line }) => line)));
    } catch (error) {
      for (const { reject } of batch) reject(error);
      return;
    }
    for (const { record, resolve } of batch) {
      this.#records.push(record);
      this.#stretches.push({ kind: 'record', value: record });
      resolve();
    }
    this.#compactIfGrown();
  }

  /** In a turn of its own, behind what waits already: whoever appended is not kept waiting for it. */
  #compactIfGrown(): void {
    if (this.#sizeBytes <= this.#limitBytes || this.#closing !== null) return;
    this.#limitBytes = Number.POSITIVE_INFINITY;
    void this.#inTurn(() => this.#compact())
      .catch((error: unknown) => this.#options.onTrouble?.(error))
      .finally(() => this.#measureAnew());
  }

  /** Twice what it is now: so a journal of many open entries is not rewritten for every append. */
  #measureAnew(): void {
    const { compactAboveBytes } = this.#options;
    if (compactAboveBytes !== undefined) this.#limitBytes = Math.max(compactAboveBytes, 2 * this.#sizeBytes);
  }

  async #write(bytes: Buffer): Promise<void> {
    await this.#requireOurs();
    const endUse: EndUse = (what, cause) => this.#end(what, cause);
    await appendBytes(this.#options.path, this.#file, { end: this.#sizeBytes, bytes, endUse });
    this.#sizeBytes += bytes.length;
  }

  async #compact(): Promise<void> {
    await this.#requireOurs();
    const { path, disk } = this.#options;
    const kept = keptStretches(this.#stretches, this.#options.keep(this.#records), (value) => this.#check(value));
    const endUse: EndUse = (what, cause) => this.#end(what, cause);
    const sizeBytes = await replaceJournal(path, this.#file, { old: this.#stretches, kept, disk, endUse });
    const old = this.#file;
    this.#file = await disk
      .open(path, constants.O_RDWR)
      .catch((error: unknown) => this.#end('Its compacted form could not be opened.', error));
    this.#stretches = kept;
    this.#records = recordsOf(kept);
    this.#sizeBytes = sizeBytes;
    await old.close();
  }

  async #requireOurs(): Promise<void> {
    if (this.#ended !== null) throw this.#ended;
    await requireNamed(this.#options.path, this.#file);
  }

  /** Nothing is known of the file any more: tells whoever ends the process, and refuses all that comes. */
  #end(what: string, cause: unknown): never {
    const state = `${what} The process ends, so that it is read again from the disk.`;
    this.#ended = unwritable(this.#options.path, state, cause);
    this.#options.onFatal(this.#ended);
    throw this.#ended;
  }

  #check(value: R): Checked<R> {
    return checkRecord(this.#options.path, this.#options.schema, value);
  }

  #closedAlready(): Failure {
    return new Failure('bug', {
      message: `${this.#options.path} was used after it was closed`,
      hint: 'This is a defect. Please report it with this message.',
    });
  }
}
