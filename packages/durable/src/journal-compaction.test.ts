import { spawn } from 'node:child_process';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Failure } from '@felhom/kernel/failure.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Entry, entry, keepOpen } from './journal.contract.ts';
import { type Journal, openJournal, readJournal } from './journal.ts';
import { toLine } from './journal-format.ts';
import { type RecordedDisk, recordedDisk, systemError } from './recorded-disk.ts';
import { type ScratchFolder, scratchFolder } from './scratch-disk.ts';

let scratch: ScratchFolder;
let path: string;
let recorded: RecordedDisk;
let fatal: Failure[];
let troubles: unknown[];
const begin = (id: string): Entry => ({ id, ends: false });
const end = (id: string): Entry => ({ id, ends: true });

const openIt = (): Promise<Journal<Entry>> =>
  openJournal({ path, schema: entry, keep: keepOpen, onFatal: (failure) => fatal.push(failure), disk: recorded.disk });
/** One that compacts by itself above two thousand bytes. */
const openGrowing = (): Promise<Journal<Entry>> =>
  openJournal({
    path,
    schema: entry,
    keep: keepOpen,
    compactAboveBytes: 2_000,
    onFatal: (failure) => fatal.push(failure),
    onTrouble: (failure) => troubles.push(failure),
    disk: recorded.disk,
  });
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
  troubles = [];
});

afterEach(() => scratch.remove());

describe('a compaction', () => {
  test('keeps records that we do not understand, and puts damaged ones aside', async () => {
    const future = toLine({ kind: 'from the future' });
    const damaged = toLine(begin('x'));
    damaged[14] = 0;
    await writeFile(path, Buffer.concat([toLine(begin('a')), damaged, future, toLine(end('a')), toLine(begin('b'))]));
    const journal = await openIt();
    await journal.compact();
    await journal.close();
    expect(await readFile(path)).toEqual(Buffer.concat([future, toLine(begin('b'))]));
    expect(await readFile(`${path}.damaged`)).toEqual(damaged);
  });

  test('keeps the journal as it was when the new form cannot be written', async () => {
    const journal = await openIt();
    for (const record of [begin('a'), end('a'), begin('b')]) await journal.append(record);
    const before = await readFile(path);
    failAt('sync journal.jsonl.tmp', 'EIO');
    await expect(journal.compact()).rejects.toMatchObject({ code: 'state_unwritable' });
    expect(await readFile(path)).toEqual(before);
    recorded.before = () => undefined;
    await journal.append(begin('c'));
    expect(fatal).toEqual([]);
    expect((await onDisk()).at(-1)).toBe('c');
    await journal.close();
  });

  test('whose rename cannot be made durable ends the process', async () => {
    const journal = await openIt();
    await journal.append(begin('a'));
    recorded.before = (operation) => {
      if (operation.startsWith('syncDirectory')) throw systemError('EIO');
    };
    await expect(journal.compact()).rejects.toMatchObject({ code: 'state_unwritable' });
    expect(fatal).toHaveLength(1);
    await expect(journal.append(begin('b'))).rejects.toMatchObject({ code: 'state_unwritable' });
    await journal.close();
  });

  test('under load loses nothing that was acknowledged', async () => {
    const journal = await openIt();
    const work: Promise<void>[] = [];
    for (let i = 0; i < 300; i += 1) {
      work.push(journal.append(begin(`e${i}`)));
      if (i % 3 === 0) work.push(journal.append(end(`e${i}`)));
      if (i % 20 === 0) work.push(journal.compact());
      if (i % 7 === 0) await work.at(-1);
    }
    await Promise.all(work);
    await journal.compact();
    const stillOpen = Array.from({ length: 300 }, (_, i) => `e${i}`).filter((_, i) => i % 3 !== 0);
    expect((await onDisk()).toSorted()).toEqual(stillOpen.toSorted());
    await journal.close();
  });
});

describe('a journal that grows', () => {
  const size = async (): Promise<number> => (await stat(path)).size;
  const compactions = (): number => recorded.operations.filter((each) => each === 'sync journal.jsonl.tmp').length;

  test('is compacted between two appends, under load, and loses nothing that was acknowledged', async () => {
    const journal = await openGrowing();
    const work: Promise<void>[] = [];
    let largest = 0;
    for (let i = 0; i < 600; i += 1) {
      work.push(journal.append(begin(`e${i}`)));
      if (i % 50 !== 0) work.push(journal.append(end(`e${i}`)));
      if (i % 5 === 0) await work.at(-1);
      if (i % 25 === 0) largest = Math.max(largest, await size());
    }
    await Promise.all(work);
    expect(compactions()).toBeGreaterThan(5);
    expect(largest).toBeLessThan(6_000);
    await journal.close();
    const stillOpen = Array.from({ length: 12 }, (_, i) => `e${i * 50}`);
    const again = await openIt();
    const open = keepOpen(again.records()).map(({ id }) => id);
    expect(open.toSorted()).toEqual(stillOpen.toSorted());
    expect(again.problems).toEqual([]);
    await again.close();
  });

  test('of entries that stay open is not rewritten for every one of them', async () => {
    const journal = await openGrowing();
    for (let i = 0; i < 800; i += 1) await journal.append(begin(`e${i}`));
    expect(compactions()).toBeLessThan(6);
    expect(await onDisk()).toHaveLength(800);
    await journal.close();
  });

  test('goes on when it cannot be compacted, says so, and tries again later', async () => {
    const journal = await openGrowing();
    failAt('sync journal.jsonl.tmp', 'ENOSPC');
    for (let i = 0; i < 150; i += 1) {
      await journal.append(begin(`e${i}`));
      await journal.append(end(`e${i}`));
    }
    expect(troubles.length).toBeGreaterThan(0);
    expect(troubles.length).toBeLessThan(5);
    expect(troubles[0]).toMatchObject({ code: 'state_unwritable' });
    expect(await onDisk()).toHaveLength(300);
    recorded.before = () => undefined;
    while ((await size()) > 2_000) {
      await journal.append(begin('x'));
      await journal.append(end('x'));
    }
    expect(fatal).toEqual([]);
    await journal.close();
  });

  test('is closed as it is when that comes first', async () => {
    const journal = await openGrowing();
    const appended = Promise.all(Array.from({ length: 100 }, (_, i) => journal.append(begin(`e${i}`))));
    await Promise.all([appended, journal.close()]);
    expect(await onDisk()).toHaveLength(100);
    expect(compactions()).toBe(0);
    expect(troubles).toEqual([]);
  });
});

describe('a writer that is killed', () => {
  test('leaves every record that it acknowledged, in order, to the next one', async () => {
    const module = fileURLToPath(new URL('./journal.ts', import.meta.url));
    const source = `
      const { openJournal } = await import(${JSON.stringify(module)});
      const { z } = await import('zod');
      const schema = z.object({ id: z.string(), ends: z.boolean() });
      const journal = await openJournal({ path: ${JSON.stringify(path)}, schema, keep: (r) => r.slice(-5), compactAboveBytes: 600, onFatal: () => process.exit(9) });
      for (let i = 0; ; i += 1) {
        await journal.append({ id: 'e' + i, ends: false });
        if (i % 50 === 49) await journal.compact();
        process.stdout.write(i + '\\n');
      }`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], {
      stdio: ['ignore', 'pipe', 'inherit'],
      cwd: dirname(module),
    });
    let said = '';
    await new Promise<void>((resolve, reject) => {
      child.stdout.on('data', (data) => {
        said += String(data);
        if (said.split('\n').length > 120) child.kill('SIGKILL');
      });
      child.on('close', () =>
        child.signalCode === 'SIGKILL' ? resolve() : reject(new Error(`ended ${child.exitCode}`)),
      );
    });
    const acknowledged = said.trim().split('\n').length - 1;
    const journal = await openIt();
    const ids = journal.records().map(({ id }) => Number(id.slice(1)));
    expect(journal.problems).toEqual([]);
    expect(ids.at(-1)).toBeGreaterThanOrEqual(acknowledged);
    expect(ids).toEqual(ids.map((_, i) => (ids[0] ?? 0) + i));
    await journal.close();
  });
});
