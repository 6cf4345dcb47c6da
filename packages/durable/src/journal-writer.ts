import { constants } from 'node:fs';
import type { Disk, DiskFile } from './disk.ts';
import type { Journal, JournalOptions } from './journal.ts';
import { appendBytes, type Checked, keptStretches, replaceJournal, requireNamed } from './journal-file.ts';
import { type Parsed, recordsOf, type Stretch } from './journal-format.ts';
import { JournalUse } from './journal-use.ts';
import type { RunLock } from './run-lock.ts';

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
  readonly #use: JournalUse<R>;
  #file: DiskFile;
  #stretches: Stretch<R>[];
  #records: R[];
  #sizeBytes: number;
  /** Compacted by itself once it is larger. */
  #limitBytes: number;
  #waiting: Waiting<R>[] = [];

  constructor(parts: WriterParts<R>) {
    this.problems = parts.parsed.problems;
    this.#options = parts;
    this.#use = new JournalUse(parts);
    this.#file = parts.file;
    this.#stretches = parts.parsed.stretches;
    this.#records = recordsOf(parts.parsed.stretches);
    this.#sizeBytes = parts.parsed.intactBytes;
    this.#limitBytes = parts.compactAboveBytes ?? Number.POSITIVE_INFINITY;
  }

  records(): readonly R[] {
    return this.#records;
  }

  async append(record: R): Promise<void> {
    this.#use.requireOpen();
    const checked = this.#use.check(record);
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ ...checked, resolve, reject });
      if (this.#waiting.length === 1) void this.#use.inTurn(() => this.#flush());
    });
  }

  async compact(): Promise<void> {
    this.#use.requireOpen();
    await this.#use.inTurn(() => this.#compact()).finally(() => this.#measureAnew());
  }

  close(): Promise<void> {
    return this.#use.close(async () => {
      await this.#file.close();
      await this.#options.lock.release();
    });
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
    if (this.#sizeBytes <= this.#limitBytes || this.#use.isClosing) return;
    this.#limitBytes = Number.POSITIVE_INFINITY;
    void this.#use
      .inTurn(() => this.#compact())
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
    await appendBytes(this.#options.path, this.#file, { end: this.#sizeBytes, bytes, endUse: this.#use.end });
    this.#sizeBytes += bytes.length;
  }

  async #compact(): Promise<void> {
    await this.#requireOurs();
    const { path, disk } = this.#options;
    const kept = keptStretches(this.#stretches, this.#options.keep(this.#records), (value) => this.#use.check(value));
    const parts = { old: this.#stretches, kept, disk, endUse: this.#use.end };
    const sizeBytes = await replaceJournal(path, this.#file, parts);
    const old = this.#file;
    this.#file = await disk
      .open(path, constants.O_RDWR)
      .catch((error: unknown) => this.#use.end('Its compacted form could not be opened.', error));
    this.#stretches = kept;
    this.#records = recordsOf(kept);
    this.#sizeBytes = sizeBytes;
    await old.close();
  }

  async #requireOurs(): Promise<void> {
    this.#use.requireAlive();
    await requireNamed(this.#options.path, this.#file);
  }
}
