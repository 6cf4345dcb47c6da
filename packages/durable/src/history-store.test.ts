import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { type HistoryStore, historyStore } from './history-store.ts';
import { type RecordedDisk, recordedDisk, systemError } from './recorded-disk.ts';
import { type ScratchFolder, scratchFolder } from './scratch-disk.ts';

const schema = z.object({ n: z.number() });
let scratch: ScratchFolder;
let folder: string;
let recorded: RecordedDisk;
let history: HistoryStore<{ n: number }>;
const ids = async (limit?: number): Promise<string[]> => (await history.list(limit)).map(({ id }) => id);

beforeEach(async () => {
  scratch = await scratchFolder();
  folder = join(scratch.path, 'runs');
  recorded = recordedDisk();
  history = historyStore({ folder, keep: 3, schema, disk: recorded.disk });
});

afterEach(() => scratch.remove());

async function saveAll(...names: string[]): Promise<void> {
  for (const [n, id] of names.entries()) await history.save(id, { n });
}

describe('a history', () => {
  test('is empty before anything was saved, without its folder', async () => {
    expect(await history.list()).toEqual([]);
    expect(await readdir(scratch.path)).toEqual([]);
  });

  test('lists the newest first, each with its value', async () => {
    await saveAll('run-1', 'run-2', 'run-3');
    expect(await ids()).toEqual(['run-3', 'run-2', 'run-1']);
    expect(await ids(1)).toEqual(['run-3']);
    expect((await history.list())[0]).toEqual({ id: 'run-3', read: { kind: 'present', value: { n: 2 } } });
  });

  test('drops the oldest beyond its bound', async () => {
    await saveAll('a', 'b', 'c', 'd', 'e');
    expect(await readdir(folder)).toEqual(['c.json', 'd.json', 'e.json']);
  });

  test('never drops the entry that was just saved, even where a clock went back', async () => {
    await saveAll('2027-1', '2027-2', '2027-3');
    await history.save('2026-9', { n: 9 });
    expect(await readdir(folder)).toEqual(['2026-9.json', '2027-2.json', '2027-3.json']);
  });

  test('replaces an entry that is saved again, in its old place, and counts it once', async () => {
    await saveAll('a', 'b', 'c');
    await history.save('a', { n: 7 });
    expect(await ids()).toEqual(['c', 'b', 'a']);
    expect((await history.find('a')).read).toEqual({ kind: 'present', value: { n: 7 } });
  });

  test('lists an unreadable entry as such, and the others beside it', async () => {
    await saveAll('a', 'b');
    await writeFile(join(folder, 'b.json'), '{');
    expect((await history.list()).map(({ id, read }) => [id, read.kind])).toEqual([
      ['b', 'unreadable'],
      ['a', 'present'],
    ]);
  });

  test('looks past what is not an entry of its own', async () => {
    await saveAll('a');
    await writeFile(join(folder, 'a.json.123456'), 'left over');
    await writeFile(join(folder, 'notes.txt'), 'x');
    await writeFile(join(folder, 'not an id.json'), 'x');
    await mkdir(join(folder, 'folder.json'));
    expect(await ids()).toEqual(['a']);
  });

  test('refuses an id that would leave its folder', async () => {
    for (const id of ['../x', '', 'a/b', '.', 'a'.repeat(65)]) {
      await expect(history.save(id, { n: 1 })).rejects.toMatchObject({ code: 'bug' });
    }
    expect(await readdir(scratch.path)).toEqual([]);
  });

  test('that cannot be written says so and keeps what it had', async () => {
    await saveAll('a');
    recorded.before = (operation) => {
      if (operation.startsWith('fill')) throw systemError('ENOSPC');
    };
    await expect(history.save('b', { n: 1 })).rejects.toMatchObject({ code: 'state_unwritable' });
    expect(await ids()).toEqual(['a']);
  });

  test('whose old entries cannot be dropped still took the new one', async () => {
    await saveAll('a', 'b', 'c');
    recorded.before = (operation) => {
      if (operation.startsWith('remove')) throw systemError('EIO');
    };
    await history.save('d', { n: 1 });
    expect(await ids()).toContain('d');
  });
});

test('a history whose folder cannot be listed is a failure, not empty', async () => {
  await writeFile(folder, 'a file in its place');
  await expect(history.list()).rejects.toMatchObject({ code: 'state_unreadable' });
  await expect(history.find('a')).rejects.toMatchObject({ code: 'state_unreadable' });
});

describe('finding an entry', () => {
  test('works by its id and by the beginning of it', async () => {
    await saveAll('run-abc', 'run-abd', 'other');
    expect((await history.find('run-abc')).id).toBe('run-abc');
    expect((await history.find('oth')).id).toBe('other');
  });

  test('by an id that begins another one finds the id', async () => {
    await saveAll('run', 'run-2');
    expect((await history.find('run')).id).toBe('run');
  });

  test('by what several begin with names them', async () => {
    await saveAll('run-abc', 'run-abd');
    await expect(history.find('run')).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('run-abd, run-abc'),
    });
  });

  test.each(['nothing', '', '../a', '*'])('by %j finds nothing', async (wanted) => {
    await saveAll('a');
    await expect(history.find(wanted)).rejects.toMatchObject({ code: 'not_found' });
  });
});
