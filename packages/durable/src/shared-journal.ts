import { Failure } from '@felhom/kernel/failure.ts';
import { type Disk, type DiskFile, systemDisk } from './disk.ts';
import { appendBytes, keptStretches, nothingRecorded, replaceJournal } from './journal-file.ts';
import { JournalUse } from './journal-use.ts';
import { JournalView } from './journal-view.ts';
import { acquireWithin, processStartTime, type RunLock } from './run-lock.ts';
import type { Schema } from './schema.ts';
import { unwritable } from './unwritable.ts';

/*
 * A journal that several processes append to.
 *
 * Invariants
 * - Cut, append and compaction happen only under the flock of `PATH.lock`, which is taken for each batch and given back
 *   after it. Under it the open inode is compared with the path (another process may have compacted), then everything
 *   that others wrote is read, then a torn tail is cut: it can only be of a process that died in its append.
 * - append() and decide() resolve only after their records are on the disk: one write and one fdatasync a batch.
 * - decide() looks and appends under one lock: of two processes that decide the same thing one sees the other's record.
 * - Otherwise as in journal-writer.ts: a short append is taken back, a failed sync ends the process, compaction is a
 *   whole-file replace that keeps what we do not understand.
 */

/** What a look at the journal leads to. */
export interface Decision<R, T> {
  append: readonly R[];
  answer: T;
}

export interface SharedJournal<R> {
  /** Everything that is durably recorded, by whomever, oldest first. Throws Failure `busy`, `state_unwritable`. */
  refresh(): Promise<readonly R[]>;
  /** Resolves when the record is on the disk. Throws as `decide`. */
  append(record: R): Promise<void>;
  /**
   * Shows `look` all records and appends what it answers, with nobody in between. `look` is pure; what it throws is
   * thrown. Throws Failure `state_unwritable` (nothing was recorded), `busy` (the lock was not to be had, or the file
   * was removed), `bug` (a record does not fit).
   */
  decide<T>(look: (records: readonly R[]) => Decision<R, T>): Promise<T>;
  /** Rewrites the journal with what `keep` answers. Throws Failure `state_unwritable`; the journal is then as it was. */
  compact(): Promise<void>;
  /** Waits for what is under way. Twice is fine. */
  close(): Promise<void>;
  /** What a person should be told about the file as it was found: one sentence each. */
  readonly problems: readonly string[];
}

export interface SharedJournalOptions<R> {
  /** Ends in `.jsonl`. */
  path: string;
  schema: Schema<R>;
  /** Which records a compaction keeps, in order: at least every open entry. Pure. */
  keep: (records: readonly R[]) => readonly R[];
  /** Ends the process: nothing is known of the file any more. Called at most once. */
  onFatal: (failure: Failure) => void;
  /** A file larger than this, and twice as large as after the last compaction, is compacted after an append. Default 1 MiB. */
  compactAboveBytes?: number;
  /** How long to wait for the others' batches. Default 30 s. */
  lockWaitMs?: number;
  disk?: Disk;
}

interface Waiting<R> {
  look: (records: readonly R[]) => { append: readonly R[]; tell: () => void };
  reject: (why: unknown) => void;
}

/** Opens the journal, makes it when there is none, and cuts a torn tail. Throws Failure `busy`, `state_unwritable`. */
export async function openSharedJournal<R>(options: SharedJournalOptions<R>): Promise<SharedJournal<R>> {
  const journal = new Shared(options);
  await journal.open();
  return journal;
}

class Shared<R> implements SharedJournal<R> {
  readonly #options: SharedJournalOptions<R>;
  readonly #disk: Disk;
  readonly #use: JournalUse<R>;
  readonly #view: JournalView<R>;
  #compactedBytes = 0;
  #waiting: Waiting<R>[] = [];

  constructor(options: SharedJournalOptions<R>) {
    const { path, schema, disk = systemDisk } = options;
    this.#options = options;
    this.#disk = disk;
    this.#use = new JournalUse(options);
    this.#view = new JournalView({ path, schema, disk });
  }

  get problems(): readonly string[] {
    return this.#view.problems;
  }

  async open(): Promise<void> {
    await this.#locked(async () => undefined);
  }

  async refresh(): Promise<readonly R[]> {
    return await this.#use.inTurn(async () => {
      if (this.#use.isEnded || !(await this.#view.isCurrent())) await this.#locked(async () => undefined);
      return [...this.#view.records];
    });
  }

  async append(record: R): Promise<void> {
    await this.decide(() => ({ append: [record], answer: null }));
  }

  async decide<T>(look: (records: readonly R[]) => Decision<R, T>): Promise<T> {
    this.#use.requireOpen();
    return await new Promise<T>((resolve, reject) => {
      this.#waiting.push({
        look: (records) => {
          const { append, answer } = look(records);
          return { append, tell: () => resolve(answer) };
        },
        reject,
      });
      if (this.#waiting.length === 1) void this.#use.inTurn(() => this.#flush());
    });
  }

  async compact(): Promise<void> {
    this.#use.requireOpen();
    await this.#use.inTurn(() => this.#locked((file) => this.#compact(file)));
  }

  close(): Promise<void> {
    return this.#use.close(() => this.#view.close());
  }

  async #flush(): Promise<void> {
    const batch = this.#waiting;
    this.#waiting = [];
    try {
      await this.#locked(async (file) => {
        for (const tell of await this.#write(file, batch)) tell();
        await this.#compactWhenLarge(file);
      });
    } catch (error) {
      for (const { reject } of batch) reject(error); // Those that were answered already do not hear it.
    }
  }

  /** Appends what each of the batch decides, seeing what the ones before it decided. Answers those that are recorded. */
  async #write(file: DiskFile, batch: readonly Waiting<R>[]): Promise<(() => void)[]> {
    const seen = [...this.#view.records];
    const lines: Buffer[] = [];
    const told: (() => void)[] = [];
    for (const { look, reject } of batch) {
      try {
        const { append, tell } = look(seen);
        const checked = append.map((record) => this.#use.check(record));
        seen.push(...checked.map(({ record }) => record));
        lines.push(...checked.map(({ line }) => line));
        told.push(tell);
      } catch (error) {
        reject(error);
      }
    }
    const bytes = Buffer.concat(lines);
    const { records, sizeBytes: end } = this.#view;
    if (bytes.length > 0) await appendBytes(this.#options.path, file, { end, bytes, endUse: this.#use.end });
    this.#view.appended(seen.slice(records.length), bytes.length);
    return told;
  }

  /** Room is nobody's reason to fail: what could not be compacted is compacted some other time. */
  async #compactWhenLarge(file: DiskFile): Promise<void> {
    const { compactAboveBytes = 1024 * 1024 } = this.#options;
    const { sizeBytes } = this.#view;
    if (sizeBytes <= Math.max(compactAboveBytes, 2 * this.#compactedBytes)) return;
    this.#compactedBytes = sizeBytes;
    try {
      await this.#compact(file);
    } catch (error) {
      if (this.#use.isEnded) throw error;
    }
  }

  async #compact(file: DiskFile): Promise<void> {
    const { path, keep } = this.#options;
    const { stretches: old, records } = this.#view;
    const kept = keptStretches(old, keep(records), (value) => this.#use.check(value));
    this.#compactedBytes = await replaceJournal(path, file, { old, kept, disk: this.#disk, endUse: this.#use.end });
    await this.#view.catchUp();
  }

  /** Runs `work` under the lock, over a file that is the path's own, read to its end and whole. */
  async #locked<T>(work: (file: DiskFile) => Promise<T>): Promise<T> {
    this.#use.requireAlive();
    const lock = await this.#takeLock();
    try {
      return await work(await this.#view.catchUp());
    } catch (error) {
      throw unwritable(this.#options.path, nothingRecorded, error);
    } finally {
      await lock.release();
    }
  }

  async #takeLock(): Promise<RunLock> {
    const { path, lockWaitMs = 30_000 } = this.#options;
    const startTime = (await processStartTime(process.pid)) ?? '';
    const holder = { pid: process.pid, startTime, purpose: 'journal' };
    const acquired = await acquireWithin(`${path}.lock`, holder, { waitMs: lockWaitMs, disk: this.#disk });
    if (acquired.kind === 'held-by-us') return acquired.lock;
    const who = acquired.holder === null ? 'another process' : `process ${acquired.holder.pid}`;
    throw new Failure('busy', {
      message: `${path} has been held by ${who} for ${lockWaitMs / 1_000} s. Nothing was recorded and nothing was started.`,
      hint: 'Look at that process; if it hangs, end it: what it began is resolved by the next one that starts.',
    });
  }
}
