import { chmod, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { recordedDisk, systemError } from './recorded-disk.ts';
import { removeFile, replaceFile, replaceFiles, sweepTemporaries } from './replace-file.ts';
import { type ScratchFolder, scratchFolder } from './scratch-disk.ts';

let scratch: ScratchFolder;
let path: string;

beforeEach(async () => {
  scratch = await scratchFolder();
  path = join(scratch.path, 'state.json');
});

afterEach(() => scratch.remove());

describe('a whole-file replace', () => {
  test('fills and syncs a temporary file, renames it, then syncs the folder', async () => {
    await writeFile(path, 'old');
    const recorded = recordedDisk();
    const seen: Record<string, string> = {};
    recorded.before = async (operation) => {
      seen[operation] = await readFile(path, 'utf8');
    };
    await replaceFile(path, 'new', { disk: recorded.disk });
    expect(recorded.operations).toEqual([
      'open state.json.tmp',
      'fill state.json.tmp',
      'sync state.json.tmp',
      expect.stringMatching(/^syncDirectory felhom-durable-/),
    ]);
    expect(seen['sync state.json.tmp']).toBe('old');
    expect(seen[recorded.operations[3] ?? '']).toBe('new');
  });

  test.each(['open', 'fill', 'sync'])('leaves the old text and no temporary file when %s fails', async (step) => {
    await writeFile(path, 'old');
    const recorded = recordedDisk();
    recorded.before = (operation) => {
      if (operation.startsWith(`${step} `)) throw systemError('ENOSPC');
    };
    await expect(replaceFile(path, 'new', { disk: recorded.disk })).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(await readFile(path, 'utf8')).toBe('old');
    expect(await readdir(scratch.path)).toEqual(['state.json']);
  });

  test('fails when the folder cannot be synced: the rename might be lost', async () => {
    const recorded = recordedDisk();
    recorded.before = (operation) => {
      if (operation.startsWith('syncDirectory')) throw systemError('EIO');
    };
    await expect(replaceFile(path, 'new', { disk: recorded.disk })).rejects.toMatchObject({ code: 'EIO' });
  });

  test('has the mode and the owner that were named before anybody can see it', async () => {
    await writeFile(path, 'old');
    const recorded = recordedDisk();
    const seen: number[][] = [];
    recorded.before = async (operation) => {
      const { mode, uid, gid } = await stat(path);
      if (operation.startsWith('syncDirectory')) seen.push([mode & 0o7777, uid, gid]);
    };
    const owner =
      process.getuid?.() === 0
        ? { uid: 4321, gid: 1234 }
        : { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
    await replaceFile(path, 'new', { disk: recorded.disk, mode: 0o640, owner });
    expect(seen).toEqual([[0o640, owner.uid, owner.gid]]);
  });

  test('gives the file to its owner alone, whatever it was before', async () => {
    await writeFile(path, 'old');
    await chmod(path, 0o644);
    await replaceFile(path, 'new');
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  test('writes text of many pages whole', async () => {
    const text = 'x'.repeat(1_000_000);
    await replaceFile(path, text);
    expect(await readFile(path, 'utf8')).toBe(text);
  });

  test('of two at once leaves one of the two texts, whole', async () => {
    await Promise.all([replaceFile(path, 'a'.repeat(9000)), replaceFile(path, 'b'.repeat(9000))]);
    expect(['a'.repeat(9000), 'b'.repeat(9000)]).toContain(await readFile(path, 'utf8'));
    expect(await readdir(scratch.path)).toEqual(['state.json']);
  });
});

describe('replacing several files', () => {
  test('renames none of them before all new texts are synced', async () => {
    const recorded = recordedDisk();
    const files = new Map([
      ['a.json', 'one'],
      ['b.json', 'two'],
    ]);
    const present: string[][] = [];
    recorded.before = async (operation) => {
      if (operation.startsWith('sync ')) present.push(await readdir(scratch.path));
    };
    await replaceFiles(scratch.path, files, recorded.disk);
    expect(present).toHaveLength(2);
    for (const names of present) expect(names.filter((name) => files.has(name))).toEqual([]);
    expect((await readdir(scratch.path)).toSorted()).toEqual(['a.json', 'b.json']);
    expect(recorded.operations.at(-1)).toMatch(/^syncDirectory/);
  });

  test.each(['a.json', 'b.json'])('changes nothing when %s does not fit', async (full) => {
    await writeFile(join(scratch.path, 'a.json'), 'old a');
    await writeFile(join(scratch.path, 'b.json'), 'old b');
    const recorded = recordedDisk();
    recorded.before = (operation) => {
      if (operation === `fill ${full}.tmp`) throw systemError('ENOSPC');
    };
    const files = new Map([
      ['a.json', 'one'],
      ['b.json', 'two'],
    ]);
    await expect(replaceFiles(scratch.path, files, recorded.disk)).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(await readFile(join(scratch.path, 'a.json'), 'utf8')).toBe('old a');
    expect(await readFile(join(scratch.path, 'b.json'), 'utf8')).toBe('old b');
    expect((await readdir(scratch.path)).toSorted()).toEqual(['a.json', 'b.json']);
  });
});

describe('removing a file', () => {
  test('syncs the folder afterwards', async () => {
    await writeFile(path, 'old');
    const recorded = recordedDisk();
    await removeFile(path, recorded.disk);
    expect(await readdir(scratch.path)).toEqual([]);
    expect(recorded.operations).toEqual(['remove state.json', expect.stringMatching(/^syncDirectory/)]);
  });

  test('is done when there is none', async () => {
    await expect(removeFile(path)).resolves.toBeUndefined();
  });
});

describe('sweeping', () => {
  test('removes what killed processes left a minute ago, and nothing else', async () => {
    const nowMs = Date.now();
    const names = ['state.json', 'state.json.1234567890', 'journal.jsonl.99', 'state.json.12345678901', 'report.1'];
    for (const name of names) await writeFile(join(scratch.path, name), 'x');
    await writeFile(join(scratch.path, 'state.json.77'), 'young');
    const old = new Date(nowMs - 61_000);
    for (const name of names) await utimes(join(scratch.path, name), old, old);
    await sweepTemporaries(scratch.path, nowMs);
    expect((await readdir(scratch.path)).toSorted()).toEqual([
      'report.1',
      'state.json',
      'state.json.12345678901',
      'state.json.77',
    ]);
  });

  test('of a folder that is not there does nothing', async () => {
    await expect(sweepTemporaries(join(scratch.path, 'none'))).resolves.toBeUndefined();
  });
});
