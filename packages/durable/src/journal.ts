import { constants } from 'node:fs';
import { Failure } from '@felhom/kernel/failure.ts';
import { type Disk, errorCode, systemDisk } from './disk.ts';
import { parseJournal, recordsOf } from './journal-format.ts';
import type { Schema } from './schema.ts';

/** Append-only records in the past tense. */
export interface Journal<R> {
  /** What is durably recorded, oldest first. */
  records(): readonly R[];
  /**
   * Resolves when the record is on the disk. Throws Failure `state_unwritable` (nothing of it was
   * recorded), `busy` (the file was replaced under us), `bug` (it does not fit the schema).
   */
  append(record: R): Promise<void>;
  /** Rewrites the journal with what `keep` answers. Throws Failure `state_unwritable`; the journal is then as it was. */
  compact(): Promise<void>;
  /** Waits for what is under way, then lets go of the file and of the lock. Twice is fine. */
  close(): Promise<void>;
  /** What a person should be told about the file as it was found: one sentence each. */
  readonly problems: readonly string[];
}

export interface JournalOptions<R> {
  /** Ends in `.jsonl`, so that what a killed compaction left beside it can be told and swept. */
  path: string;
  schema: Schema<R>;
  /** Which records a compaction keeps, in order: at least every open entry. Pure. */
  keep: (records: readonly R[]) => readonly R[];
  /** Ends the process: nothing is known of the file any more. Called at most once. */
  onFatal: (failure: Failure) => void;
  /**
   * Compacts by itself once the file is larger than this and twice as large as after the last compaction, between two
   * appends. Without it only `compact` does.
   */
  compactAboveBytes?: number;
  /** Told of a compaction by itself that failed: the journal holds what it held, and it is tried again after as much growth. */
  onTrouble?: (failure: unknown) => void;
  disk?: Disk;
}

/** Reads a journal that another process may be writing; repairs nothing. Throws Failure `state_unreadable`. */
export async function readJournal<R>(options: {
  path: string;
  schema: Schema<R>;
  disk?: Disk;
}): Promise<{ records: R[]; problems: string[] }> {
  const { path, schema, disk = systemDisk } = options;
  try {
    const file = await disk.open(path, constants.O_RDONLY);
    try {
      const { stretches, problems } = parseJournal(await file.readAll(), schema);
      return { records: recordsOf(stretches), problems };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return { records: [], problems: [] };
    throw new Failure('state_unreadable', {
      message: `${path} cannot be read: ${error instanceof Error ? error.message : String(error)}. Nothing was changed.`,
      hint: 'Run the same command as root (sudo); if you are root, check the disk (dmesg).',
      cause: error,
    });
  }
}

/**
 * Opens the journal for writing; makes it when there is none. Throws Failure `busy` when another
 * process writes it, and `state_unwritable` when it cannot be opened or its torn tail not be cut.
 */
export async function openJournal<R>(options: JournalOptions<R>): Promise<Journal<R>> {
  // Commands that only read start faster without what writes.
  const { openForWriting } = await import('./journal-opening.ts');
  return openForWriting(options);
}
