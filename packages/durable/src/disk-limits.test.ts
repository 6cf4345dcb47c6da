import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openJournal, readJournal } from './journal.ts';
import { type Owed, owed } from './marker-store.contract.ts';
import { fileMarkerStore } from './marker-store.ts';
import { replaceFile } from './replace-file.ts';
import { acquireRunLock } from './run-lock.ts';
import { type SmallDisk, smallDisk } from './scratch-disk.ts';

/*
 * Real full and read-only file systems. Nothing here is made up: where no file system can be mounted
 * (no root), the group is skipped and says so.
 */

const probe = await smallDisk();
await probe?.remove();
if (probe === null) console.warn('skipped: full and read-only disks, because this user may not mount a tmpfs');

const onePage = 'x'.repeat(3000);
const threePages = 'y'.repeat(3 * 4096);
const record = { run: onePage, containers: [] };
const us = { pid: process.pid, startTime: '1' };
const noFatal = (): void => {
  throw new Error('the journal gave up its file');
};

describe.skipIf(probe === null)('a disk with one page left', () => {
  let disk: SmallDisk;

  beforeEach(async () => {
    const made = await smallDisk();
    if (made === null) throw new Error('a tmpfs could be mounted a moment ago');
    disk = made;
  });

  afterEach(() => disk.remove());

  test('keeps the old text when the new one does not fit, and no temporary file', async () => {
    const path = join(disk.path, 'state.json');
    await replaceFile(path, onePage);
    await disk.leaveFree(1);
    await expect(replaceFile(path, threePages)).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(await readFile(path, 'utf8')).toBe(onePage);
    expect((await readdir(disk.path)).toSorted()).toEqual(['filler', 'state.json']);
  });

  test('takes no marker of which only one copy fits, and keeps the one before', async () => {
    const store = fileMarkerStore({ folder: disk.path, name: 'marker', version: 1, schema: owed });
    await store.write(record);
    await disk.leaveFree(1);
    await expect(store.write({ ...record, containers: ['new'] })).rejects.toMatchObject({
      code: 'state_unwritable',
      hint: expect.stringContaining('Free space'),
    });
    expect(await store.read()).toEqual({ kind: 'present', value: record });
    expect((await readdir(disk.path)).toSorted()).toEqual(['filler', 'marker.a.json', 'marker.b.json']);
  });

  test('still lets a marker be erased', async () => {
    const store = fileMarkerStore({ folder: disk.path, name: 'marker', version: 1, schema: owed });
    await store.write(record);
    await disk.leaveFree(0);
    await store.erase();
    expect(await store.read()).toEqual({ kind: 'absent' });
  });

  test('takes back a journal record that fits only in part, and goes on once there is room', async () => {
    const path = join(disk.path, 'journal.jsonl');
    const journal = await openJournal({ path, schema: owed, keep: (records) => records, onFatal: noFatal });
    await journal.append(record);
    await disk.leaveFree(1);
    const before = await readFile(path);
    await expect(journal.append({ run: threePages, containers: [] })).rejects.toMatchObject({
      code: 'state_unwritable',
    });
    expect(await readFile(path)).toEqual(before);
    await disk.leaveFree(10);
    await journal.append({ run: 'after', containers: [] });
    await journal.close();
    expect((await readJournal({ path, schema: owed })).records.map(({ run }) => run)).toEqual([onePage, 'after']);
  });

  test('keeps a journal whose compacted form does not fit', async () => {
    const path = join(disk.path, 'journal.jsonl');
    const journal = await openJournal({ path, schema: owed, keep: (records) => records.slice(1), onFatal: noFatal });
    for (const run of ['1', '2', threePages]) await journal.append({ run, containers: [] });
    await disk.leaveFree(1);
    await expect(journal.compact()).rejects.toMatchObject({ code: 'state_unwritable' });
    expect(journal.records()).toHaveLength(3);
    await disk.leaveFree(10);
    await journal.append({ run: 'after', containers: [] });
    await journal.compact();
    await journal.close();
    expect((await readJournal({ path, schema: owed })).records).toHaveLength(3);
  });

  test('gives its lock even where the holder cannot be written down', async () => {
    const path = join(disk.path, 'run.lock');
    const first = await acquireRunLock(path, { ...us, purpose: 'first' });
    if (first.kind === 'held-by-us') await first.lock.release();
    await disk.leaveFree(0);
    const second = await acquireRunLock(path, { ...us, purpose: 'second' });
    expect(second.kind).toBe('held-by-us');
    expect(await acquireRunLock(path, us)).toEqual({ kind: 'busy', holder: null });
    if (second.kind === 'held-by-us') await second.lock.release();
  });
});

describe.skipIf(probe === null)('a disk that turned read-only', () => {
  let disk: SmallDisk;

  beforeEach(async () => {
    const made = await smallDisk();
    if (made === null) throw new Error('a tmpfs could be mounted a moment ago');
    disk = made;
  });

  afterEach(() => disk.remove());

  test('still tells its marker, takes none and erases none', async () => {
    const store = fileMarkerStore({ folder: disk.path, name: 'marker', version: 1, schema: owed });
    await store.write(record);
    await disk.remountReadOnly();
    expect(await store.read()).toEqual({ kind: 'present', value: record });
    await expect(store.write(record)).rejects.toMatchObject({
      code: 'state_unwritable',
      hint: expect.stringContaining('read-only'),
    });
    await expect(store.erase()).rejects.toMatchObject({ code: 'state_unwritable' });
    expect(await store.read()).toEqual({ kind: 'present', value: record });
  });

  test('still gives its lock, to one at a time', async () => {
    const path = join(disk.path, 'run.lock');
    const before = await acquireRunLock(path, us);
    if (before.kind === 'held-by-us') await before.lock.release();
    await disk.remountReadOnly();
    const held = await acquireRunLock(path, us);
    expect(held.kind).toBe('held-by-us');
    expect(await acquireRunLock(path, us)).toMatchObject({ kind: 'busy' });
    if (held.kind === 'held-by-us') await held.lock.release();
  });

  test('without a lock file gives none and says why', async () => {
    await disk.remountReadOnly();
    await expect(acquireRunLock(join(disk.path, 'run.lock'), us)).rejects.toMatchObject({
      code: 'state_unwritable',
      hint: expect.stringContaining('read-only'),
    });
  });

  test('still tells what its journal holds, and is not opened for writing', async () => {
    const path = join(disk.path, 'journal.jsonl');
    const options = { path, schema: owed, keep: (records: readonly Owed[]) => records, onFatal: noFatal };
    const journal = await openJournal(options);
    await journal.append(record);
    await journal.close();
    await disk.remountReadOnly();
    expect(await readJournal({ path, schema: owed })).toEqual({ records: [record], problems: [] });
    await expect(openJournal(options)).rejects.toMatchObject({ code: 'state_unwritable' });
  });
});
