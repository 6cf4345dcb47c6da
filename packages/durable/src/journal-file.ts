import { readFile } from 'node:fs/promises';
import { Failure } from '@felhom/kernel/failure.ts';
import type { Disk, DiskFile } from './disk.ts';
import { largestRecordBytes, type Stretch, toLine } from './journal-format.ts';
import { isNamed } from './lock-file.ts';
import { replaceFile } from './replace-file.ts';
import { explain, type Schema } from './schema.ts';
import { unwritable } from './unwritable.ts';

/*
 * What is done to the file of a journal, by whoever holds its lock: by the one writer of openJournal, and by each of
 * the writers of openSharedJournal in its turn.
 */

export const nothingRecorded = 'Nothing of it was recorded, so nothing was started.';
const largestDamagedBytes = 1024 * 1024;

/** A record as it is read back, and the line that holds it. */
export interface Checked<R> {
  record: R;
  line: Buffer;
}

/** Throws Failure `bug` for a record that does not fit. */
export function checkRecord<R>(path: string, schema: Schema<R>, value: R): Checked<R> {
  const line = toLine(value);
  const parsed = schema.safeParse(JSON.parse(JSON.stringify(value)));
  if (parsed.success && line.length <= largestRecordBytes) return { record: parsed.data, line };
  const why = parsed.success ? `it has ${line.length} bytes` : explain(parsed.error);
  throw new Failure('bug', {
    message: `a record that does not fit was not appended to ${path}: ${why}`,
    hint: 'This is a defect. Please report it with this message.',
  });
}

/** Ends all use of the journal: nothing is known of its file any more. Never returns. */
export type EndUse = (what: string, cause: unknown) => never;

/**
 * One write at `end` and one fdatasync. What was taken only in part is truncated back before anybody hears of it;
 * where that fails, or the sync does, `endUse` is called. Throws Failure `state_unwritable`.
 */
export async function appendBytes(
  path: string,
  file: DiskFile,
  { end, bytes, endUse }: { end: number; bytes: Buffer; endUse: EndUse },
): Promise<void> {
  const written = await file.write(bytes, end).catch((error: unknown) => asError(error));
  if (written !== bytes.length) {
    await takeBack(file, end).catch((error: unknown) => endUse('A half-written record stays in it.', error));
    throw unwritable(path, nothingRecorded, shortWrite(written, bytes.length));
  }
  await file
    .dataSync()
    .catch((error: unknown) => endUse('Whether the last records are on the disk is not known.', error));
}

/** Durably: a whole record of a batch that failed must not come back after a power cut. */
async function takeBack(file: DiskFile, end: number): Promise<void> {
  await file.truncate(end);
  await file.sync();
}

/** The stretches in their old order without what is not kept, then what `keep` made anew. */
export function keptStretches<R>(
  stretches: readonly Stretch<R>[],
  kept: readonly R[],
  check: (value: R) => Checked<R>,
): Stretch<R>[] {
  const wanted = new Set(kept);
  const old = stretches.filter(
    (stretch) => stretch.kind === 'foreign' || (stretch.kind === 'record' && wanted.delete(stretch.value)),
  );
  return [...old, ...[...wanted].map((value): Stretch<R> => ({ kind: 'record', value: check(value).record }))];
}

/**
 * Replaces the journal's file by one that holds `kept`; damaged stretches of the old one are put aside. Answers how
 * many bytes it holds now. Throws Failure `state_unwritable`: the file is then as it was.
 */
export async function replaceJournal<R>(
  path: string,
  file: DiskFile,
  { old, kept, disk, endUse }: { old: readonly Stretch<R>[]; kept: readonly Stretch<R>[]; disk: Disk; endUse: EndUse },
): Promise<number> {
  const content = Buffer.concat(
    kept.map((stretch) => (stretch.kind === 'record' ? toLine(stretch.value) : stretch.bytes)),
  );
  try {
    await saveDamaged(path, old, disk);
    await replaceFile(path, content, { disk });
  } catch (error) {
    if (!(await isNamed(path, file))) endUse('Whether its compacted form is on the disk is not known.', error);
    throw unwritable(path, 'It was not compacted and holds what it held.', error);
  }
  return content.length;
}

/** Cuts the torn `tail` that an append which never finished left at byte `at`; whole damaged lines are put aside first. */
export async function cutTail(
  path: string,
  file: DiskFile,
  { tail, at }: { tail: Buffer; at: number },
  disk: Disk,
): Promise<void> {
  if (tail.length === 0) return;
  await requireNamed(path, file);
  if (tail.includes(0x0a)) await saveDamaged(path, [{ kind: 'broken', bytes: tail }], disk);
  await file.truncate(at);
  await file.sync();
}

/** Keeps damaged bytes for a person to look at, beside the journal. The newest stay when there are too many. */
async function saveDamaged(path: string, stretches: readonly Stretch<unknown>[], disk: Disk): Promise<void> {
  const damaged = stretches.flatMap((stretch) => (stretch.kind === 'broken' ? [stretch.bytes] : []));
  if (damaged.length === 0) return;
  const before = await readFile(`${path}.damaged`).catch(() => Buffer.alloc(0)); // None yet.
  await replaceFile(`${path}.damaged`, Buffer.concat([before, ...damaged]).subarray(-largestDamagedBytes), { disk });
}

/** Throws Failure `busy` when the path names another file by now, or none. */
export async function requireNamed(path: string, file: DiskFile): Promise<void> {
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
