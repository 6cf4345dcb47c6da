import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { markerStoreContract, type Owed, owed } from './marker-store.contract.ts';
import { fileMarkerStore, type MarkerStore } from './marker-store.ts';
import { type RecordedDisk, recordedDisk, systemError } from './recorded-disk.ts';
import { type ScratchFolder, scratchFolder } from './scratch-disk.ts';

let scratch: ScratchFolder;
let folder: string;
let recorded: RecordedDisk;
let store: MarkerStore<Owed>;
const value: Owed = { run: 'r1', containers: ['a'] };
const later: Owed = { run: 'r2', containers: ['b'] };

const open = (version = 1): MarkerStore<Owed> =>
  fileMarkerStore({ folder, name: 'marker', version, schema: owed, disk: recorded.disk });
const copy = (letter: 'a' | 'b'): string => join(folder, `marker.${letter}.json`);

beforeEach(async () => {
  scratch = await scratchFolder();
  folder = join(scratch.path, 'state', 'debts');
  recorded = recordedDisk();
  store = open();
});

afterEach(() => scratch.remove());

markerStoreContract('two files', async () => ({ make: () => open() }));

describe('the two copies of a marker', () => {
  test('both lie in its folder, readable by their owner alone, and nothing else does', async () => {
    await store.write(value);
    expect((await readdir(folder)).toSorted()).toEqual(['marker.a.json', 'marker.b.json']);
    for (const path of [copy('a'), copy('b')]) expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    expect(JSON.parse(await readFile(copy('a'), 'utf8'))).toMatchObject({ version: 1, value });
  });

  test('every folder that was made is synced into the one above it', async () => {
    await store.write(value);
    const folders = recorded.operations.filter((operation) => operation.startsWith('syncDirectory'));
    expect(folders.slice(0, 2)).toEqual(['syncDirectory state', expect.stringMatching(/felhom-durable-/)]);
    expect(folders.at(-1)).toBe('syncDirectory debts');
  });

  test.each(['a', 'b'] as const)('copy %s may be lost', async (lost) => {
    await store.write(value);
    await rm(copy(lost));
    expect(await store.read()).toEqual({ kind: 'present', value });
  });

  test.each([
    ['a', ''],
    ['b', '{"version":1,"val'],
    ['a', '\0\0\0\0'],
    ['b', '{"version":1,"sequence":9,"value":{"run":7}}'],
    ['b', '[]'],
  ] as const)('copy %s may hold %j', async (bad, text) => {
    await store.write(value);
    await writeFile(copy(bad), text);
    expect(await store.read()).toEqual({ kind: 'present', value });
  });

  test('the later of two good ones counts, whichever it is', async () => {
    await store.write(value);
    const old = await readFile(copy('a'));
    await store.write(later);
    await writeFile(copy('a'), old);
    expect(await store.read()).toEqual({ kind: 'present', value: later });
    await store.write(value);
    await writeFile(copy('b'), old);
    await store.write(later);
    expect(await store.read()).toEqual({ kind: 'present', value: later });
  });

  test('both unreadable are a debt, with the time of the older one', async () => {
    await store.write(value);
    await writeFile(copy('a'), 'x');
    await writeFile(copy('b'), '');
    await utimes(copy('a'), 1000, 1000);
    await utimes(copy('b'), 2000, 2000);
    expect(await store.read()).toMatchObject({ kind: 'unreadable', mtimeMs: 1_000_000 });
  });

  test('one unreadable and one absent are a debt too', async () => {
    await store.write(value);
    await writeFile(copy('a'), 'x');
    await rm(copy('b'));
    expect(await store.read()).toMatchObject({ kind: 'unreadable' });
  });

  test('a newer version is told, not guessed at', async () => {
    await open(3).write(value);
    expect(await store.read()).toEqual({ kind: 'newer', version: 3 });
    await writeFile(copy('a'), 'x');
    expect(await store.read()).toEqual({ kind: 'newer', version: 3 });
  });

  test('an older version is read by the schema of today', async () => {
    await store.write(value);
    expect(await open(2).read()).toEqual({ kind: 'present', value });
  });

  test('a symbolic link or a folder in the place of a copy is not followed', async () => {
    await store.write(value);
    const elsewhere = join(scratch.path, 'elsewhere.json');
    await writeFile(elsewhere, await readFile(copy('a')));
    for (const path of [copy('a'), copy('b')]) await rm(path);
    await symlink(elsewhere, copy('a'));
    await mkdir(copy('b'));
    expect(await store.read()).toMatchObject({ kind: 'unreadable' });
  });
});

describe('a marker that cannot be written', () => {
  test.each(['ENOSPC', 'EROFS', 'EACCES'])('says so for %s, with what to do next', async (code) => {
    await store.write(value);
    recorded.before = (operation) => {
      if (operation.startsWith('fill')) throw systemError(code);
    };
    const failure = await store.write(later).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      code: 'state_unwritable',
      message: expect.stringContaining('Nothing was stopped'),
    });
    expect(failure).toHaveProperty('hint', expect.stringMatching(/^(Free space|The file system|Run the same command)/));
    recorded.before = () => undefined;
    expect(await store.read()).toEqual({ kind: 'present', value });
  });

  test.each(['fill marker.b.json.tmp', 'sync marker.b.json.tmp'])('is one when only %s fails', async (failing) => {
    await store.write(value);
    recorded.before = (operation) => {
      if (operation === failing) throw systemError('ENOSPC');
    };
    await expect(store.write(later)).rejects.toMatchObject({ code: 'state_unwritable' });
    for (const letter of ['a', 'b'] as const) expect(await readFile(copy(letter), 'utf8')).toContain('"r1"');
  });

  test('leaves no first marker behind when only the last sync fails', async () => {
    let syncs = 0;
    recorded.before = (operation) => {
      if (operation === 'syncDirectory debts') syncs += 1;
      if (syncs === 1 && operation.startsWith('syncDirectory debts')) throw systemError('EIO');
    };
    await expect(store.write(value)).rejects.toMatchObject({ code: 'state_unwritable' });
    expect(await store.read()).toEqual({ kind: 'absent' });
  });

  test('that cannot be erased stays whole', async () => {
    await store.write(value);
    recorded.before = (operation) => {
      if (operation.startsWith('remove')) throw systemError('EROFS');
    };
    await expect(store.erase()).rejects.toMatchObject({
      code: 'state_unwritable',
      message: expect.stringContaining('stays'),
    });
    expect(await store.read()).toEqual({ kind: 'present', value });
  });
});

describe('an erase', () => {
  test('removes both copies before it syncs their folder', async () => {
    await store.write(value);
    recorded.operations.length = 0;
    await store.erase();
    expect(recorded.operations).toEqual(['remove marker.a.json', 'remove marker.b.json', 'syncDirectory debts']);
  });

  test('cut short after the first copy leaves the debt', async () => {
    await store.write(value);
    recorded.before = (operation) => {
      if (operation === 'remove marker.b.json') throw systemError('EIO');
    };
    await expect(store.erase()).rejects.toMatchObject({ code: 'state_unwritable' });
    expect(await store.read()).toEqual({ kind: 'present', value });
  });
});

test('a writer that is killed at any moment leaves what it acknowledged, or what it wrote next', async () => {
  const module = fileURLToPath(new URL('./marker-store.ts', import.meta.url));
  const source = `
    const { fileMarkerStore } = await import(${JSON.stringify(module)});
    const schema = { safeParse: (data) => ({ success: true, data }) };
    const store = fileMarkerStore({ folder: ${JSON.stringify(folder)}, name: 'marker', version: 1, schema });
    for (let i = 0; ; i += 1) {
      await store.write({ run: 'r' + i, containers: Array(500).fill('c' + i) });
      process.stdout.write(i + '\\n');
    }`;
  for (const killAfter of [1, 7, 20]) {
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], {
      stdio: ['ignore', 'pipe', 'inherit'],
      cwd: dirname(module),
    });
    let said = '';
    await new Promise<void>((resolve) => {
      child.stdout.on('data', (data) => {
        said += String(data);
        if (said.split('\n').length > killAfter) child.kill('SIGKILL');
      });
      child.on('close', () => resolve());
    });
    expect(child.signalCode).toBe('SIGKILL');
    const acknowledged = said.trim().split('\n').length - 1;
    const read = await store.read();
    if (read.kind !== 'present') throw new Error(`the marker is ${read.kind}`);
    expect([acknowledged, acknowledged + 1]).toContain(Number(read.value.run.slice(1)));
    expect(read.value.containers).toEqual(Array.from({ length: 500 }, () => `c${read.value.run.slice(1)}`));
  }
});

test('what a killed write left is swept, however young, and nothing else', async () => {
  await store.write(value);
  const left = ['marker.a.json.1234567', 'marker.b.json.7654321'];
  const others = ['another.a.json.1234567', 'marker.a.json.orig'];
  for (const name of [...left, ...others]) await writeFile(join(folder, name), '{"ver');
  await store.sweep();
  expect((await readdir(folder)).toSorted()).toEqual([...others, 'marker.a.json', 'marker.b.json'].toSorted());
  expect(await store.read()).toMatchObject({ kind: 'present' });
});

test('reading makes nothing, not even the folder', async () => {
  await store.read();
  expect(await readdir(scratch.path)).toEqual([]);
});

test('a marker is checked by its schema when it is read, not only when it is written', async () => {
  await store.write(value);
  const strict = fileMarkerStore({ folder, name: 'marker', version: 1, schema: z.object({ other: z.string() }) });
  expect(await strict.read()).toMatchObject({ kind: 'unreadable' });
});
