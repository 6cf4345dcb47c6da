import { appendFile, copyFile, open, readdir, readFile, rename, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Failure } from '@felhom/kernel/failure.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Entry, entry, journalContract, keepOpen } from './journal.contract.ts';
import { type Journal, openJournal, readJournal } from './journal.ts';
import { toLine } from './journal-format.ts';
import { type RecordedDisk, recordedDisk, systemError } from './recorded-disk.ts';
import { type ScratchFolder, scratchFolder } from './scratch-disk.ts';

let scratch: ScratchFolder;
let path: string;
let recorded: RecordedDisk;
let fatal: Failure[];
const begin = (id: string): Entry => ({ id, ends: false });

const openIt = (): Promise<Journal<Entry>> =>
  openJournal({ path, schema: entry, keep: keepOpen, onFatal: (failure) => fatal.push(failure), disk: recorded.disk });
const onDisk = async (): Promise<string[]> => (await readJournal({ path, schema: entry })).records.map(({ id }) => id);
const failAt = (operation: string, code: string): void => {
  recorded.before = (now) => {
    if (now === operation) throw systemError(code);
  };
};

beforeEach(async () => {
  scratch = await scratchFolder();
  path = join(scratch.path, 'journal.jsonl');
  recorded = recordedDisk();
  fatal = [];
});

afterEach(() => scratch.remove());

journalContract('a file', async () => ({ open: openIt }));

describe('an append', () => {
  test('is one write and one data sync, and counts only after them', async () => {
    const journal = await openIt();
    recorded.operations.length = 0;
    let countedBeforeSync = -1;
    recorded.before = (operation) => {
      if (operation.startsWith('dataSync')) countedBeforeSync = journal.records().length;
    };
    await journal.append(begin('a'));
    expect(recorded.operations).toEqual(['write journal.jsonl', 'dataSync journal.jsonl']);
    expect(countedBeforeSync).toBe(0);
    await journal.close();
  });

  test('shares write and sync with all that wait', async () => {
    const journal = await openIt();
    recorded.operations.length = 0;
    await Promise.all(Array.from({ length: 100 }, (_, i) => journal.append(begin(`e${i}`))));
    await journal.close();
    expect(recorded.operations.filter((operation) => operation.startsWith('dataSync'))).toHaveLength(1);
    expect(await onDisk()).toHaveLength(100);
  });

  test('that was taken only in part is taken back, durably, and nothing of its batch counts', async () => {
    const journal = await openIt();
    await journal.append(begin('before'));
    const bytes = await readFile(path);
    recorded.operations.length = 0;
    recorded.takes = (length) => length - 1;
    const ends = await Promise.allSettled([journal.append(begin('a')), journal.append(begin('b'))]);
    for (const one of ends) expect(one).toMatchObject({ status: 'rejected', reason: { code: 'state_unwritable' } });
    expect(recorded.operations).toEqual(['write journal.jsonl', 'truncate journal.jsonl', 'sync journal.jsonl']);
    expect(await readFile(path)).toEqual(bytes);
    expect(fatal).toEqual([]);
    recorded.takes = (length) => length;
    await journal.append(begin('after'));
    expect(await onDisk()).toEqual(['before', 'after']);
    await journal.close();
  });

  test('that is refused by the disk leaves the journal usable', async () => {
    const journal = await openIt();
    failAt('write journal.jsonl', 'ENOSPC');
    await expect(journal.append(begin('a'))).rejects.toMatchObject({ code: 'state_unwritable' });
    recorded.before = () => undefined;
    await journal.append(begin('b'));
    expect(await onDisk()).toEqual(['b']);
    await journal.close();
  });

  test.each([
    ['its sync fails', 'dataSync journal.jsonl', (length: number) => length],
    ['it cannot be taken back', 'truncate journal.jsonl', (length: number) => length - 1],
    ['its taking back cannot be synced', 'sync journal.jsonl', (length: number) => length - 1],
  ])('ends the process once when %s, and nothing is ever written again', async (_, operation, takes) => {
    const journal = await openIt();
    recorded.takes = takes;
    failAt(operation, 'EIO');
    await expect(journal.append(begin('a'))).rejects.toMatchObject({ code: 'state_unwritable' });
    recorded.before = () => undefined;
    recorded.takes = (length) => length;
    recorded.operations.length = 0;
    await expect(journal.append(begin('b'))).rejects.toMatchObject({ code: 'state_unwritable' });
    await expect(journal.compact()).rejects.toMatchObject({ code: 'state_unwritable' });
    expect(recorded.operations).toEqual([]);
    expect(fatal).toHaveLength(1);
    expect(journal.records()).toEqual([]);
    await journal.close();
  });

  test('into a file that was replaced or removed is refused, and the file that is there stays as it is', async () => {
    const journal = await openIt();
    await journal.append(begin('a'));
    await copyFile(path, `${path}.copy`);
    await rename(`${path}.copy`, path);
    await expect(journal.append(begin('b'))).rejects.toMatchObject({ code: 'busy' });
    await expect(journal.compact()).rejects.toMatchObject({ code: 'busy' });
    expect(await onDisk()).toEqual(['a']);
    await rename(path, `${path}.gone`);
    await expect(journal.append(begin('c'))).rejects.toMatchObject({ code: 'busy' });
    await journal.close();
  });
});

describe('opening a journal', () => {
  test('makes it 0600 and syncs its folder, so that a new one is not lost with its records', async () => {
    await (await openIt()).close();
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(
      recorded.operations.filter((operation) => /^(open journal.jsonl$|syncDirectory)/.test(operation)).slice(-2),
    ).toEqual(['open journal.jsonl', expect.stringMatching(/^syncDirectory/)]);
  });

  test('cuts a torn tail, durably and without a word', async () => {
    await writeFile(path, Buffer.concat([toLine(begin('a')), toLine(begin('b')).subarray(0, 9)]));
    const journal = await openIt();
    expect(journal.problems).toEqual([]);
    expect(recorded.operations.slice(-2)).toEqual(['truncate journal.jsonl', 'sync journal.jsonl']);
    await journal.append(begin('c'));
    await journal.close();
    expect(await onDisk()).toEqual(['a', 'c']);
  });

  test('cuts nothing in a file that was put in the place of the one it opened', async () => {
    await writeFile(path, Buffer.concat([toLine(begin('a')), Buffer.from('torn')]));
    await writeFile(`${path}.other`, 'another');
    const { disk } = recorded;
    recorded.disk = {
      ...disk,
      open: async (...args) => {
        const file = await disk.open(...args);
        if (args[0] === path) await rename(`${path}.other`, path);
        return file;
      },
    };
    await expect(openIt()).rejects.toMatchObject({ code: 'busy' });
    expect(await readFile(path, 'utf8')).toBe('another');
    expect(recorded.operations).not.toContain('truncate journal.jsonl');
  });

  test('puts damaged whole lines at the end aside before it cuts them', async () => {
    const damaged = toLine(begin('b'));
    damaged[14] = 0;
    await writeFile(path, Buffer.concat([toLine(begin('a')), damaged]));
    const journal = await openIt();
    expect(journal.problems).toHaveLength(1);
    await journal.close();
    expect(await readFile(`${path}.damaged`)).toEqual(damaged);
    expect(await onDisk()).toEqual(['a']);
  });

  test('reports a broken middle and leaves it where it is', async () => {
    const damaged = toLine(begin('b'));
    damaged[14] = 0;
    await writeFile(path, Buffer.concat([toLine(begin('a')), damaged, toLine(begin('c'))]));
    const before = await readFile(path);
    const journal = await openIt();
    expect(journal.problems).toEqual([expect.stringContaining('damaged')]);
    expect(journal.records().map(({ id }) => id)).toEqual(['a', 'c']);
    expect(await readFile(path)).toEqual(before);
    await journal.close();
  });

  test('gives the lock back when it fails', async () => {
    failAt('open journal.jsonl', 'EACCES');
    await expect(openIt()).rejects.toMatchObject({ code: 'state_unwritable' });
    recorded.before = () => undefined;
    await (await openIt()).close();
  });

  test('names the process that writes it', async () => {
    const journal = await openIt();
    await expect(openIt()).rejects.toMatchObject({
      code: 'busy',
      message: expect.stringContaining(String(process.pid)),
    });
    await journal.close();
  });
});

describe('reading a journal', () => {
  test('changes nothing of it, whatever it holds', async () => {
    const text = Buffer.concat([Buffer.from('rubbish\n'), toLine(begin('a')), toLine(begin('b')).subarray(0, 5)]);
    await writeFile(path, text);
    expect(await readJournal({ path, schema: entry })).toMatchObject({ records: [begin('a')] });
    expect(await readFile(path)).toEqual(text);
    expect(await readdir(scratch.path)).toEqual(['journal.jsonl']);
  });

  test('that is not there gives no records', async () => {
    expect(await readJournal({ path, schema: entry })).toEqual({ records: [], problems: [] });
  });

  test('that cannot be read is a failure and no empty journal', async () => {
    failAt('open journal.jsonl', 'EACCES');
    await expect(readJournal({ path, schema: entry, disk: recorded.disk })).rejects.toMatchObject({
      code: 'state_unreadable',
    });
  });
});

test('cutting a file at any byte and opening it gives the records before the cut', async () => {
  const lines = ['a', 'b', 'c'].map((id) => toLine(begin(id)));
  const whole = Buffer.concat(lines);
  for (let cut = 0; cut <= whole.length; cut += 1) {
    await writeFile(path, whole);
    await truncate(path, cut);
    const journal = await openIt();
    let intact = 0;
    while (intact < 3 && Buffer.concat(lines.slice(0, intact + 1)).length <= cut) intact += 1;
    expect(journal.records()).toHaveLength(intact);
    await journal.append(begin('next'));
    await journal.close();
    expect(await onDisk()).toEqual([...['a', 'b', 'c'].slice(0, intact), 'next']);
  }
});

test('a reader beside the writer sees a prefix of what is appended', async () => {
  const journal = await openIt();
  const file = await open(path);
  await file.close();
  const writing = Promise.all(Array.from({ length: 50 }, (_, i) => journal.append(begin(`e${i}`))));
  const { records, problems } = await readJournal({ path, schema: entry });
  expect(records.map(({ id }) => id)).toEqual(records.map((_, i) => `e${i}`));
  expect(problems).toEqual([]);
  await writing;
  await appendFile(path, '12 abc');
  expect((await readJournal({ path, schema: entry })).problems).toEqual([]);
  await journal.close();
});
