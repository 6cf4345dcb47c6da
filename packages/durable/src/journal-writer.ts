import { constants } from 'node:fs';
import { lstat, readFile } from 'node:fs/promises';
import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import type { Disk, DiskFile } from './disk.ts';
import type { Journal, JournalOptions } from './journal.ts';
import { largestRecordBytes, type Parsed, recordsOf, type Stretch, toLine } from './journal-format.ts';
import { replaceFile } from './replace-file.ts';
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

interface Waiting<R> {
  record: R;
  line: Buffer;
  resolve: () => void;
  reject: (why: unknown) => void;
}

export interface WriterParts<R> extends JournalOptions<R> {
  disk: Disk;
  lock: RunLock;
  file: DiskFile;
  parsed: Parsed<R>;
}

const nothingRecorded = 'Nothing of it was recorded, so nothing was started.';

/** The journal over an open file whose tail is intact. Whoever calls this hands over the file and the lock. */
export function journalWriter<R>(parts: WriterParts<R>): Journal<R> {
  const { path, schema, keep, onFatal, disk, lock } = parts;
  let { file } = parts;
  let stretches = parts.parsed.stretches;
  let records = recordsOf(stretches);
  let sizeBytes = parts.parsed.intactBytes;
  let waiting: Waiting<R>[] = [];
  let last: Promise<unknown> = Promise.resolve();
  let ended: Failure | null = null;
  let closing: Promise<void> | null = null;

  /** Runs one piece of work after all that was asked for before. */
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const mine = last.then(work);
    last = mine.catch(() => undefined); // Its caller hears of it; the next one is not concerned.
    return mine;
  };

  const end = (what: string, cause: unknown): Failure => {
    ended = unwritable(path, `${what} The process ends, so that it is read again from the disk.`, cause);
    onFatal(ended);
    return ended;
  };

  const write = async (bytes: Buffer): Promise<void> => {
    if (ended !== null) throw ended;
    if (!(await isNamed(path, file))) throw replacedUnderUs(path);
    const written = await file.write(bytes, sizeBytes).catch((error: unknown) => asError(error));
    if (written !== bytes.length) {
      const cause = written instanceof Error ? written : new Error(`no space left: ${written} of ${bytes.length} bytes were taken`);
      await file.truncate(sizeBytes).catch((error: unknown) => {
        throw end('A half-written record could not be taken back.', error);
      });
      throw unwritable(path, nothingRecorded, cause);
    }
    await file.dataSync().catch((error: unknown) => {
      throw end('Whether the last records are on the disk is not known.', error);
    });
    sizeBytes += bytes.length;
  };

  const flush = async (): Promise<void> => {
    const batch = waiting;
    waiting = [];
    try {
      await write(Buffer.concat(batch.map(({ line }) => line)));
    } catch (error) {
      for (const { reject } of batch) reject(error);
      return;
    }
    for (const { record, resolve } of batch) {
      records.push(record);
      stretches.push({ kind: 'record', value: record });
      resolve();
    }
  };

  const append = (record: R): Promise<void> => {
    if (closing !== null) return Promise.reject(closedAlready(path));
    return new Promise((resolve, reject) => {
      const checked = toRecord(path, schema, record);
      waiting.push({ ...checked, resolve, reject });
      if (waiting.length === 1) void inTurn(flush);
    });
  };

  const compact = async (): Promise<void> => {
    if (ended !== null) throw ended;
    if (!(await isNamed(path, file))) throw replacedUnderUs(path);
    const kept = keptStretches(stretches, keep(records), path, schema);
    const content = Buffer.concat(kept.map((stretch) => (stretch.kind === 'record' ? toLine(stretch.value) : stretch.bytes)));
    try {
      await saveDamaged(path, stretches, disk);
      await replaceFile(path, content, disk);
    } catch (error) {
      if (!(await isNamed(path, file))) throw end('Whether its compacted form is on the disk is not known.', error);
      throw unwritable(path, 'It was not compacted and holds what it held.', error);
    }
    const old = file;
    file = await disk.open(path, constants.O_RDWR).catch((error: unknown) => {
      throw end('Its compacted form could not be opened.', error);
    });
    stretches = kept;
    records = recordsOf(kept);
    sizeBytes = content.length;
    await old.close();
  };

  const close = async (): Promise<void> => {
    await file.close();
    await lock.release();
  };

  return {
    problems: parts.parsed.problems,
    records: () => records,
    append,
    compact: () => (closing === null ? inTurn(compact) : Promise.reject(closedAlready(path))),
    close: () => {
      closing ??= inTurn(close);
      return closing;
    },
  };
}

/** Cuts what an append that never finished left behind the last intact line. */
export async function cutTail(
  path: string,
  file: DiskFile,
  bytes: Buffer,
  { intactBytes }: Parsed<unknown>,
  disk: Disk,
): Promise<void> {
  if (intactBytes === bytes.length) return;
  if (!(await isNamed(path, file))) throw replacedUnderUs(path);
  const tail = bytes.subarray(intactBytes);
  if (tail.includes(0x0a)) await saveDamaged(path, [{ kind: 'broken', bytes: tail }], disk);
  await file.truncate(intactBytes);
  await file.sync();
}

/** The stretches in their old order without what is not kept, then what `keep` made anew. */
function keptStretches<R>(
  stretches: readonly Stretch<R>[],
  kept: readonly R[],
  path: string,
  schema: z.ZodType<R>,
): Stretch<R>[] {
  const wanted = new Set(kept);
  const old = stretches.filter((stretch) => stretch.kind === 'foreign' || (stretch.kind === 'record' && wanted.delete(stretch.value)));
  const made = [...wanted].map((value): Stretch<R> => ({ kind: 'record', value: toRecord(path, schema, value).record }));
  return [...old, ...made];
}

const largestDamagedBytes = 1024 * 1024;

/** Keeps damaged bytes for a person to look at, beside the journal. The newest stay when there are too many. */
async function saveDamaged(path: string, stretches: readonly Stretch<unknown>[], disk: Disk): Promise<void> {
  const damaged = stretches.flatMap((stretch) => (stretch.kind === 'broken' ? [stretch.bytes] : []));
  if (damaged.length === 0) return;
  const before = await readFile(`${path}.damaged`).catch(() => Buffer.alloc(0)); // None yet.
  await replaceFile(`${path}.damaged`, Buffer.concat([before, ...damaged]).subarray(-largestDamagedBytes), disk);
}

async function isNamed(path: string, file: DiskFile): Promise<boolean> {
  const [opened, named] = [await file.stat(), await lstat(path).catch(() => null)];
  return named !== null && named.ino === opened.ino && named.dev === opened.dev;
}

function toRecord<R>(path: string, schema: z.ZodType<R>, value: R): { record: R; line: Buffer } {
  const line = toLine(value);
  const parsed = schema.safeParse(JSON.parse(JSON.stringify(value)));
  if (parsed.success && line.length <= largestRecordBytes) return { record: parsed.data, line };
  const why = parsed.success ? `it has ${line.length} bytes` : z.prettifyError(parsed.error);
  throw new Failure('bug', {
    message: `a record that does not fit was not appended to ${path}: ${why}`,
    hint: 'This is a defect. Please report it with this message.',
  });
}

function replacedUnderUs(path: string): Failure {
  return new Failure('busy', {
    message: `${path} was replaced or removed while it was open. ${nothingRecorded}`,
    hint: 'Put the journal back, or restart the service so that it opens the one that is there now.',
  });
}

function closedAlready(path: string): Failure {
  return new Failure('bug', {
    message: `${path} was used after it was closed`,
    hint: 'This is a defect. Please report it with this message.',
  });
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
