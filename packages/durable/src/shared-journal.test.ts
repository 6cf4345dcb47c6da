import { type ChildProcess, spawn } from 'node:child_process';
import { appendFile, copyFile, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Failure } from '@felhom/kernel/failure.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Entry, entry, keepOpen } from './journal.contract.ts';
import { readJournal } from './journal.ts';
import { toLine } from './journal-format.ts';
import { type RecordedDisk, recordedDisk, systemError } from './recorded-disk.ts';
import { acquireRunLock } from './run-lock.ts';
import { type ScratchFolder, scratchFolder } from './scratch-disk.ts';
import { openSharedJournal, type SharedJournal, type SharedJournalOptions } from './shared-journal.ts';

let scratch: ScratchFolder;
let path: string;
let recorded: RecordedDisk;
let fatal: Failure[];
const begin = (id: string): Entry => ({ id, ends: false });
const end = (id: string): Entry => ({ id, ends: true });
const ids = (records: readonly Entry[]): string[] => records.map(({ id }) => id);

const openIt = (more: Partial<SharedJournalOptions<Entry>> = {}): Promise<SharedJournal<Entry>> =>
  openSharedJournal({ path, schema: entry, keep: keepOpen, onFatal: (failure) => fatal.push(failure), ...more });
const onDisk = async (): Promise<string[]> => ids((await readJournal({ path, schema: entry })).records);

beforeEach(async () => {
  scratch = await scratchFolder();
  path = join(scratch.path, 'actions.jsonl');
  recorded = recordedDisk();
  fatal = [];
});

afterEach(() => scratch.remove());

describe('a journal with several writers', () => {
  test('shows each what the others wrote, in one order', async () => {
    const [one, other] = [await openIt(), await openIt()];
    await one.append(begin('a'));
    await other.append(begin('b'));
    await one.append(begin('c'));
    expect(ids(await one.refresh())).toEqual(['a', 'b', 'c']);
    expect(ids(await other.refresh())).toEqual(['a', 'b', 'c']);
    await Promise.all([one.close(), other.close()]);
  });

  test('lets one of them win where all decide the same thing at once', async () => {
    const writers = await Promise.all(Array.from({ length: 4 }, () => openIt()));
    const claim = (writer: SharedJournal<Entry>): Promise<boolean> =>
      writer.decide((records) =>
        records.some(({ id }) => id === 'mine')
          ? { append: [], answer: false }
          : { append: [begin('mine')], answer: true },
      );
    const won = await Promise.all([...writers, ...writers].map(claim));
    expect(won.filter(Boolean)).toHaveLength(1);
    expect(await onDisk()).toEqual(['mine']);
    await Promise.all(writers.map((writer) => writer.close()));
  });

  test('shares write and sync, and one lock, with all that wait', async () => {
    const journal = await openIt({ disk: recorded.disk });
    recorded.operations.length = 0;
    await Promise.all(Array.from({ length: 50 }, (_, i) => journal.append(begin(`e${i}`))));
    const count = (operation: string): number => recorded.operations.filter((each) => each === operation).length;
    expect(count('dataSync actions.jsonl')).toBe(1);
    expect(count('open actions.jsonl.lock')).toBe(1);
    await journal.close();
  });

  test('answers a refresh without the lock when nobody wrote', async () => {
    const journal = await openIt({ disk: recorded.disk });
    await journal.append(begin('a'));
    recorded.operations.length = 0;
    expect(ids(await journal.refresh())).toEqual(['a']);
    expect(recorded.operations).toEqual([]);
    await journal.close();
  });

  test('cuts what one that died in its append left, and tells of whole lines that are damaged', async () => {
    const journal = await openIt();
    await journal.append(begin('a'));
    const damaged = toLine(begin('x'));
    damaged[14] = 0;
    await appendFile(path, Buffer.concat([damaged, toLine(begin('b')), toLine(begin('c')).subarray(0, 9)]));
    await journal.append(begin('d'));
    expect(await onDisk()).toEqual(['a', 'b', 'd']);
    expect(journal.problems).toEqual([expect.stringContaining('are damaged')]);
    await journal.compact();
    expect(await readFile(`${path}.damaged`)).toEqual(damaged);
    await journal.close();
  });

  test('takes a short append back, durably, and the next writer finds nothing of it', async () => {
    const [full, other] = [await openIt({ disk: recorded.disk }), await openIt()];
    await full.append(begin('before'));
    recorded.takes = (length) => length - 1;
    recorded.operations.length = 0;
    await expect(full.append(begin('lost'))).rejects.toMatchObject({ code: 'state_unwritable' });
    expect(recorded.operations.filter((each) => /^(write|truncate|sync) actions.jsonl$/.test(each))).toEqual([
      'write actions.jsonl',
      'truncate actions.jsonl',
      'sync actions.jsonl',
    ]);
    await other.append(begin('after'));
    recorded.takes = (length) => length;
    await full.append(begin('again'));
    expect(await onDisk()).toEqual(['before', 'after', 'again']);
    expect(fatal).toEqual([]);
    await Promise.all([full.close(), other.close()]);
  });

  test('ends the process whose sync fails, once, and the others go on', async () => {
    const [failing, other] = [await openIt({ disk: recorded.disk }), await openIt()];
    recorded.before = (operation) => {
      if (operation === 'dataSync actions.jsonl') throw systemError('EIO');
    };
    await expect(failing.append(begin('a'))).rejects.toMatchObject({ code: 'state_unwritable' });
    recorded.before = () => undefined;
    recorded.operations.length = 0;
    await expect(failing.append(begin('b'))).rejects.toMatchObject({ code: 'state_unwritable' });
    await expect(failing.compact()).rejects.toMatchObject({ code: 'state_unwritable' });
    expect(recorded.operations).toEqual([]);
    expect(fatal).toHaveLength(1);
    await other.append(begin('c'));
    expect((await onDisk()).at(-1)).toBe('c');
    await Promise.all([failing.close(), other.close()]);
  });

  test('refuses a record that does not fit, and takes those beside it', async () => {
    const journal = await openIt();
    const ends = await Promise.allSettled([
      journal.append(begin('a')),
      journal.append(begin('')),
      journal.append(begin('b')),
    ]);
    expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(await onDisk()).toEqual(['a', 'b']);
    await journal.close();
    await expect(journal.append(begin('c'))).rejects.toMatchObject({ code: 'bug' });
  });

  test('writes into no file that was removed, and begins none in its place', async () => {
    const journal = await openIt();
    await journal.append(begin('a'));
    await rm(path);
    await expect(journal.append(begin('b'))).rejects.toMatchObject({ code: 'busy' });
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
    await journal.close();
  });

  test('goes on in the file that took the place of its own', async () => {
    const journal = await openIt();
    await journal.append(begin('a'));
    await copyFile(path, `${path}.copy`);
    await appendFile(`${path}.copy`, toLine(begin('b')));
    await rename(`${path}.copy`, path);
    await journal.append(begin('c'));
    expect(await onDisk()).toEqual(['a', 'b', 'c']);
    await journal.close();
  });

  test('reads a file anew that somebody cut in place', async () => {
    const journal = await openIt();
    for (const id of ['a', 'b']) await journal.append(begin(id));
    await truncate(path, Buffer.byteLength(toLine(begin('a'))));
    expect(ids(await journal.refresh())).toEqual(['a']);
    await journal.append(begin('c'));
    expect(await onDisk()).toEqual(['a', 'c']);
    await journal.close();
  });

  test('names the process that keeps the lock for too long', async () => {
    const journal = await openIt({ lockWaitMs: 50 });
    const held = await acquireRunLock(`${path}.lock`, { pid: 4711, startTime: '1' });
    await expect(journal.append(begin('a'))).rejects.toMatchObject({
      code: 'busy',
      message: expect.stringContaining('4711'),
    });
    if (held.kind === 'held-by-us') await held.lock.release();
    await journal.append(begin('a'));
    await journal.close();
  });
});

describe('compaction among several writers', () => {
  test('loses nothing that anybody was told is recorded', async () => {
    const writers = await Promise.all(['x', 'y', 'z'].map(async (name) => ({ name, journal: await openIt() })));
    await Promise.all(
      writers.map(async ({ name, journal }) => {
        for (let i = 0; i < 25; i += 1) {
          await journal.append(begin(`${name}${i}`));
          if (i % 3 === 0) await journal.append(end(`${name}${i}`));
          if (i % 10 === 0) await journal.compact();
        }
      }),
    );
    await writers[0]?.journal.compact();
    const stillOpen = writers.flatMap(({ name }) =>
      Array.from({ length: 25 }, (_, i) => `${name}${i}`).filter((_, i) => i % 3 !== 0),
    );
    expect((await onDisk()).toSorted()).toEqual(stillOpen.toSorted());
    await Promise.all(writers.map(({ journal }) => journal.close()));
  });

  test.each([
    ['shorter than what another one has read', 0],
    ['as long again, and longer', 20],
  ])('that leaves the file %s is read anew by that one, whole', async (_, more) => {
    const [one, other] = [await openIt(), await openIt()];
    for (const id of ['a', 'b', 'c']) await one.append(begin(id));
    await one.append(end('a'));
    expect(ids(await other.refresh())).toEqual(['a', 'b', 'c', 'a']);
    await one.compact();
    for (let i = 0; i < more; i += 1) await one.append(begin(`n${i}`));
    expect(await other.refresh()).toEqual(await one.refresh());
    expect(ids(await other.refresh()).slice(0, 3)).toEqual(['b', 'c', ...(more > 0 ? ['n0'] : [])]);
    expect(other.problems).toEqual([]);
    await Promise.all([one.close(), other.close()]);
  });

  test('comes by itself when the file has grown, keeps what is open, and never fails an append', async () => {
    const journal = await openIt({ compactAboveBytes: 2_000, disk: recorded.disk });
    await journal.append(begin('open'));
    recorded.before = (operation) => {
      if (operation === 'sync actions.jsonl.tmp') throw systemError('ENOSPC');
    };
    for (let i = 0; i < 80; i += 1) {
      if (i === 50) recorded.before = () => undefined;
      await journal.append(begin(`e${i}`));
      await journal.append(end(`e${i}`));
    }
    expect((await stat(path)).size).toBeLessThan(4_500);
    expect((await onDisk())[0]).toBe('open');
    await journal.close();
  });
});

describe('processes that share a journal', () => {
  const module = fileURLToPath(new URL('./shared-journal.ts', import.meta.url));

  /** A process that appends entries of its name for ever, telling each that was acknowledged. */
  const writer = (name: string): { child: ChildProcess; acknowledged: () => number } => {
    const source = `
      const { openSharedJournal } = await import(${JSON.stringify(module)});
      const { z } = await import('zod');
      const schema = z.object({ id: z.string(), ends: z.boolean() });
      const keep = (records) => records.filter(({ ends }) => !ends);
      const journal = await openSharedJournal({ path: ${JSON.stringify(path)}, schema, keep, onFatal: () => process.exit(9) });
      for (let i = 0; ; i += 1) {
        await journal.append({ id: ${JSON.stringify(name)} + i, ends: false });
        if (i % 8 === 7) await journal.compact();
        process.stdout.write('.');
      }`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], {
      stdio: ['ignore', 'pipe', 'inherit'],
      cwd: dirname(module),
    });
    let said = 0;
    child.stdout.on('data', (data: Buffer) => {
      said += data.length;
    });
    return { child, acknowledged: () => said };
  };

  test('lose nothing that was acknowledged when each is killed in the middle of its work', async () => {
    const writers = ['x', 'y'].map((name) => ({ name, ...writer(name) }));
    await Promise.all(
      writers.map(
        ({ child, acknowledged }) =>
          new Promise<void>((resolve, reject) => {
            child.stdout?.on('data', () => {
              if (acknowledged() >= 40) child.kill('SIGKILL');
            });
            child.on('close', () =>
              child.signalCode === 'SIGKILL' ? resolve() : reject(new Error(`ended ${child.exitCode}`)),
            );
          }),
      ),
    );
    const journal = await openIt();
    const found = ids(await journal.refresh());
    expect(journal.problems).toEqual([]);
    for (const { name, acknowledged } of writers) {
      const own = found.filter((id) => id.startsWith(name));
      expect(own).toEqual(own.map((_, i) => `${name}${i}`));
      expect(own.length).toBeGreaterThanOrEqual(acknowledged());
    }
    await journal.close();
  });

  test('a file made by nobody yet is made once', async () => {
    await writeFile(path, '');
    const journals = await Promise.all([openIt(), openIt()]);
    await Promise.all(journals.map((journal, i) => journal.append(begin(`e${i}`))));
    expect((await onDisk()).toSorted()).toEqual(['e0', 'e1']);
    await Promise.all(journals.map((journal) => journal.close()));
  });
});
