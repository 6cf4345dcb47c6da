import { constants } from 'node:fs';
import { dirname } from 'node:path';
import { Failure } from '@felhom/kernel/failure.ts';
import { type Disk, type DiskFile, systemDisk } from './disk.ts';
import type { Journal, JournalOptions } from './journal.ts';
import { cutTail } from './journal-file.ts';
import { parseJournal } from './journal-format.ts';
import { JournalWriter } from './journal-writer.ts';
import { sweepTemporaries } from './replace-file.ts';
import { acquireRunLock, processStartTime, type RunLock } from './run-lock.ts';
import { ensureFolder } from './state-folder.ts';
import { unwritable } from './unwritable.ts';

/** What openJournal does: the lock, the file, the cut. */
export async function openForWriting<R>(options: JournalOptions<R>): Promise<Journal<R>> {
  const { path, schema, disk = systemDisk } = options;
  const lock = await lockJournal(path, disk);
  try {
    const file = await openJournalFile(path, disk);
    try {
      const bytes = await file.readAll();
      const parsed = parseJournal(bytes, schema);
      const at = parsed.intactBytes;
      await cutTail(path, file, { tail: bytes.subarray(at), at }, disk);
      return new JournalWriter({ ...options, disk, lock, file, parsed });
    } catch (error) {
      await file.close();
      throw error;
    }
  } catch (error) {
    await lock.release();
    throw unwritable(path, 'The journal was not opened and nothing was started.', error);
  }
}

async function lockJournal(path: string, disk: Disk): Promise<RunLock> {
  const startTime = (await processStartTime(process.pid)) ?? '';
  const acquired = await acquireRunLock(`${path}.lock`, { pid: process.pid, startTime, purpose: 'journal' }, disk);
  if (acquired.kind === 'held-by-us') return acquired.lock;
  const who = acquired.holder === null ? 'another process' : `process ${acquired.holder.pid}`;
  throw new Failure('busy', {
    message: `${path} is being written by ${who}. Nothing was started.`,
    hint: 'Let that one finish, or talk to the running service instead of starting a second one.',
  });
}

/** Opens the journal's file, and makes it durably when there is none. */
export async function openJournalFile(path: string, disk: Disk): Promise<DiskFile> {
  const folder = dirname(path);
  await ensureFolder(folder, disk);
  await sweepTemporaries(folder);
  const file = await disk.open(path, constants.O_RDWR | constants.O_CREAT);
  // A new journal whose name is lost in a power cut takes every acknowledged record with it.
  await disk.syncDirectory(folder);
  return file;
}
