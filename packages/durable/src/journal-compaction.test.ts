import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
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
const begin = (id: string): Entry => ({ id, ends: false });
const end = (id: string): Entry => ({ id, ends: true });

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

describe('a writer that is killed', () => {
  test('leaves every record that it acknowledged, in order, to the next one', async () => {
    const module = fileURLToPath(new URL('./journal.ts', import.meta.url));
    const source = `
      const { openJournal } = await import(${JSON.stringify(module)});
      const { z } = await import('zod');
      const schema = z.object({ id: z.string(), ends: z.boolean() });
      const journal = await openJournal({ path: ${JSON.stringify(path)}, schema, keep: (r) => r.slice(-5), onFatal: () => process.exit(9) });
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
