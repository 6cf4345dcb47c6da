import { join } from 'node:path';
import { type Disk, systemDisk } from './disk.ts';
import { removeTemporaries, replaceFiles, sweepTemporaries } from './replace-file.ts';
import { ensureFolder } from './state-folder.ts';
import { unwritable } from './unwritable.ts';
import { type CopyRead, type Format, type MarkerRead, readCopy, toText } from './versioned-file.ts';

export type { MarkerRead } from './versioned-file.ts';

/*
 * Invariants
 * - When write() resolves, both copies hold the value and survive a power cut. When it rejects, the
 *   value that was there before is still there: no copy is renamed before both new ones are whole.
 * - One good copy is enough to read. Of two good copies the later one counts.
 * - Only two absent copies mean "no debt". Unreadable is a debt, newer is a debt.
 * - Losing an erase is harmless: the debt is settled a second time, which changes nothing.
 * - One writer at a time: whoever writes or erases holds the run lock. Reading needs no lock and never writes.
 */

/** A small durable value in the present tense. */
export interface MarkerStore<T> {
  /** Throws Failure `state_unreadable` only where the folder may not be read at all. */
  read(): Promise<MarkerRead<T>>;
  /** Throws Failure `state_unwritable`; then nothing may be done that the marker was to cover. */
  write(value: T): Promise<void>;
  /** Removes what a killed write left beside the copies. Only under the lock of the writers. */
  sweep(): Promise<void>;
  /** Absent afterwards. Throws Failure `state_unwritable`; then the debt stays and is settled again. */
  erase(): Promise<void>;
}

export interface MarkerOptions<T> extends Format<T> {
  /** Holds both copies, `NAME.a.json` and `NAME.b.json`. Made when missing. */
  folder: string;
  name: string;
  disk?: Disk;
}

/** A marker in two files of one folder. */
export function fileMarkerStore<T>(options: MarkerOptions<T>): MarkerStore<T> {
  const { folder, name, disk = systemDisk } = options;
  const copies = [`${name}.a.json`, `${name}.b.json`];
  const readCopies = (): Promise<CopyRead<T>[]> =>
    Promise.all(copies.map((copy) => readCopy(join(folder, copy), options, disk)));

  /** A failure after a rename may leave a marker of what was never done: it is taken back as far as the disk lets us. */
  const discard = async (): Promise<void> => {
    for (const copy of copies) await disk.remove(join(folder, copy)).catch(() => false); // The write's own error is the one to tell.
  };

  const write = async (value: T): Promise<void> => {
    const before = await readCopies();
    const text = toText(options, value, nextSequence(before));
    try {
      await ensureFolder(folder, disk);
      await sweepTemporaries(folder);
      await replaceFiles(folder, new Map(copies.map((copy) => [copy, text])), disk);
    } catch (error) {
      if (before.every((copy) => copy.kind === 'absent')) await discard();
      throw unwritable(
        join(folder, name),
        'Nothing was stopped on its account; what was recorded before still is.',
        error,
      );
    }
  };

  const erase = async (): Promise<void> => {
    try {
      let removed = false;
      for (const copy of copies) removed = (await disk.remove(join(folder, copy))) || removed;
      if (removed) await disk.syncDirectory(folder);
    } catch (error) {
      const state = 'It names debts that are paid already: it stays, and the next recovery settles it again.';
      throw unwritable(join(folder, name), state, error);
    }
  };

  const sweep = async (): Promise<void> => {
    if (await removeTemporaries(folder, `${name}.`, disk)) await disk.syncDirectory(folder);
  };

  return { read: async () => judge(await readCopies()), write, erase, sweep };
}

function nextSequence(reads: readonly CopyRead<unknown>[]): number {
  const known = reads.map((read) => ('sequence' in read ? read.sequence : 0));
  return Math.max(...known) + 1;
}

/** What several copies say together. */
export function judge<T>(reads: readonly CopyRead<T>[]): MarkerRead<T> {
  const good = reads.filter((read) => read.kind === 'present').toSorted((a, b) => b.sequence - a.sequence)[0];
  if (good !== undefined) return { kind: 'present', value: good.value };
  const newer = reads.find((read) => read.kind === 'newer');
  if (newer !== undefined) return { kind: 'newer', version: newer.version };
  const bad = reads.filter((read) => read.kind === 'unreadable');
  if (bad.length === 0) return { kind: 'absent' };
  return {
    kind: 'unreadable',
    reason: [...new Set(bad.map((read) => read.reason))].join('; '),
    mtimeMs: Math.min(...bad.map((read) => read.mtimeMs)),
  };
}
