import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { rememberingReader } from './text-reader.ts';

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-reader-'));
  file = join(folder, '101.yaml');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const limit = 1_000;
/** Every file is old enough for its times to tell. */
const later = (): number => Date.now() + 3_600_000;

describe.each([
  ['a disk of this host', true],
  ['a file system that may hang', false],
])('a reader that remembers, on %s', (_, onOwnDisk) => {
  it('reads a file again while it is so young that another write might not show in its times, and then no more', async () => {
    let reads = 0;
    let ageMs = 0;
    await writeFile(file, 'a\n');
    const pass = rememberingReader(
      () => Date.now() + ageMs,
      async (path) => {
        reads += 1;
        return await readFile(path, 'utf8');
      },
    );
    for (const expected of [1, 2]) {
      await pass(onOwnDisk)(file, limit);
      expect(reads).toBe(expected);
    }
    ageMs = 10_000;
    for (let round = 0; round < 3; round += 1) expect(await pass(onOwnDisk)(file, limit)).toBe('a\n');
    expect(reads).toBe(3);
  });

  it('misses no change of a file that is written again and again', async () => {
    const pass = rememberingReader();
    for (let round = 100; round < 200; round += 1) {
      await writeFile(file, `cores: ${round}\n`);
      expect(await pass(onOwnDisk)(file, limit)).toBe(`cores: ${round}\n`);
    }
  });

  it('sees a file that was replaced, cut, removed and made again', async () => {
    const pass = rememberingReader(later);
    await writeFile(file, 'a\n');
    expect(await pass(onOwnDisk)(file, limit)).toBe('a\n');
    await writeFile(`${file}.new`, 'b\n');
    await rename(`${file}.new`, file);
    expect(await pass(onOwnDisk)(file, limit)).toBe('b\n');
    await writeFile(file, '');
    expect(await pass(onOwnDisk)(file, limit)).toBe('');
    await rm(file);
    expect(await pass(onOwnDisk)(file, limit)).toBeUndefined();
    await writeFile(file, 'c\n');
    expect(await pass(onOwnDisk)(file, limit)).toBe('c\n');
  });

  it('tells of a file that became too long', async () => {
    const pass = rememberingReader(later);
    await writeFile(file, 'a\n');
    await pass(onOwnDisk)(file, limit);
    await writeFile(file, 'x'.repeat(2 * limit));
    await expect(pass(onOwnDisk)(file, limit)).rejects.toMatchObject({ code: 'config_invalid' });
  });
});
