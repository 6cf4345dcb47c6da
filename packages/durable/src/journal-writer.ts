import { constants } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Failure } from '@felhom/kernel/failure.ts';
import type { Disk, DiskFile } from './disk.ts';
import type { Journal, JournalOptions } from './journal.ts';
import { largestRecordBytes, type Parsed, recordsOf, type Stretch, toLine } from './journal-format.ts';
import { isNamed } from './lock-file.ts';
import { replaceFile } from './replace-file.ts';
import type { RunLock } from './run-lock.ts';
import { explain } from './schema.ts';
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

interface Checked<R> {
  record: R;
  line: Buffer;
}

interface Waiting<R> extends Checked<R> {
  resolve: () => void;
  reject: (why: unknown) => void;
}

const nothingRecorded = 'Nothing of it was recorded, so nothing was started.';
const largestDamagedBytes = 1024 * 1024;

/** The journal over an open file whose tail is intact. Whoever makes one hands over the file and the lock. */
export class JournalWriter<R> implements Journal<R> {
  readonly problems: readonly string[];
  readonly #options: WriterParts<R>;
  #file: DiskFile;
  #stretches: Stretch<R>[];
  #records: R[];
  #sizeBytes: number;
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
    return this.#inTurn(() => this.#compact());
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
  }

  async #write(bytes: Buffer): Promise<void> {
    await this.#requireOurs();
    const end = this.#sizeBytes;
    const written = await this.#file.write(bytes, end).catch((error: unknown) => asError(error));
    if (written !== bytes.length) {
      await this.#takeBack(end).catch((error: unknown) => this.#end('A half-written record stays in it.', error));
      throw unwritable(this.#options.path, nothingRecorded, shortWrite(written, bytes.length));
    }
    await this.#file
      .dataSync()
      .catch((error: unknown) => this.#end('Whether the last records are on the disk is not known.', error));
    this.#sizeBytes += bytes.length;
  }

  /** Durably: a whole record of a batch that failed must not come back after a power cut. */
  async #takeBack(end: number): Promise<void> {
    await this.#file.truncate(end);
    await this.#file.sync();
  }

  async #compact(): Promise<void> {
    await this.#requireOurs();
    const { path, disk } = this.#options;
    const kept = this.#keptStretches();
    const lines = kept.map((stretch) => (stretch.kind === 'record' ? toLine(stretch.value) : stretch.bytes));
    const content = Buffer.concat(lines);
    try {
      await saveDamaged(path, this.#stretches, disk);
      await replaceFile(path, content, disk);
    } catch (error) {
      if (!(await isNamed(path, this.#file)))
        this.#end('Whether its compacted form is on the disk is not known.', error);
      throw unwritable(path, 'It was not compacted and holds what it held.', error);
    }
    const old = this.#file;
    this.#file = await disk
      .open(path, constants.O_RDWR)
      .catch((error: unknown) => this.#end('Its compacted form could not be opened.', error));
    this.#stretches = kept;
    this.#records = recordsOf(kept);
    this.#sizeBytes = content.length;
    await old.close();
  }

  /** The stretches in their old order without what is not kept, then what `keep` made anew. */
  #keptStretches(): Stretch<R>[] {
    const wanted = new Set(this.#options.keep(this.#records));
    const old = this.#stretches.filter(
      (stretch) => stretch.kind === 'foreign' || (stretch.kind === 'record' && wanted.delete(stretch.value)),
    );
    return [...old, ...[...wanted].map((value): Stretch<R> => ({ kind: 'record', value: this.#check(value).record }))];
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
    const line = toLine(value);
    const parsed = this.#options.schema.safeParse(JSON.parse(JSON.stringify(value)));
    if (parsed.success && line.length <= largestRecordBytes) return { record: parsed.data, line };
    const why = parsed.success ? `it has ${line.length} bytes` : explain(parsed.error);
    throw new Failure('bug', {
      message: `a record that does not fit was not appended to ${this.#options.path}: ${why}`,
      hint: 'This is a defect. Please report it with this message.',
    });
  }

  #closedAlready(): Failure {
    return new Failure('bug', {
      message: `${this.#options.path} was used after it was closed`,
      hint: 'This is a defect. Please report it with this message.',
    });
  }
}

/** Cuts what an append that never finished left behind the last intact line; whole damaged lines are put aside first. */
export async function cutTail(
  path: string,
  file: DiskFile,
  bytes: Buffer,
  intactBytes: number,
  disk: Disk,
): Promise<void> {
  if (intactBytes === bytes.length) return;
  await requireNamed(path, file);
  const tail = bytes.subarray(intactBytes);
  if (tail.includes(0x0a)) await saveDamaged(path, [{ kind: 'broken', bytes: tail }], disk);
  await file.truncate(intactBytes);
  await file.sync();
}

/** Keeps damaged bytes for a person to look at, beside the journal. The newest stay when there are too many. */
async function saveDamaged(path: string, stretches: readonly Stretch<unknown>[], disk: Disk): Promise<void> {
  const damaged = stretches.flatMap((stretch) => (stretch.kind === 'broken' ? [stretch.bytes] : []));
  if (damaged.length === 0) return;
  const before = await readFile(`${path}.damaged`).catch(() => Buffer.alloc(0)); // None yet.
  await replaceFile(`${path}.damaged`, Buffer.concat([before, ...damaged]).subarray(-largestDamagedBytes), disk);
}

async function requireNamed(path: string, file: DiskFile): Promise<void> {
  if (await isNamed(path, file)) return;
  throw new Failure('busy', {
    message: `${path} was replaced or removed while it was open. ${nothingRecorded}`,
    hint: 'Put the journal back, or restart the service so that it opens the one that is there now.',
  });
}

function shortWrite(written: number | Error, wanted: number): Error {
  if (written instanceof Error) return written;
  return Object.assign(new Error(`no space left: ${written} of ${wanted} bytes were taken`), { code: 'ENOSPC' });
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
