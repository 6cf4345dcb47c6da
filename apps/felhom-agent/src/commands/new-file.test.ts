import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type ScratchFolder, type SmallDisk, scratchFolder, smallDisk } from '@felhom/durable/scratch-disk.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFile, writeNew } from './new-file.ts';

const state = 'No key was made.';

describe('a new file', () => {
  let folder: ScratchFolder;
  beforeEach(async () => {
    folder = await scratchFolder();
  });
  afterEach(async () => await folder.remove());

  it('is for its owner alone, and never takes the place of another', async () => {
    const path = join(folder.path, 'key');
    await writeNew(path, 'first', state);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await expect(writeNew(path, 'second', state)).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/exists already.*No key was made/),
    });
    expect(await readFile(path, 'utf8')).toBe('first');
  });

  it('that is taken back is gone', async () => {
    const file = await createFile(join(folder.path, 'envelope'), state);
    await file.discard();
    expect(await readdir(folder.path)).toEqual([]);
  });

  it('in a folder that is not there is not made, and that is said', async () => {
    await expect(writeNew(join(folder.path, 'absent', 'key'), 'text', state)).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining(state),
    });
  });
});

const probe = await smallDisk();
await probe?.remove();
if (probe === null) console.warn('skipped: a full disk, because this user may not mount a tmpfs');

describe.skipIf(probe === null)('on a full disk', () => {
  let disk: SmallDisk | null;
  beforeEach(async () => {
    disk = await smallDisk();
  });
  afterEach(async () => await disk?.remove());

  it('leaves no half of itself, and says what to do', async () => {
    if (disk === null) throw new Error('a tmpfs could be mounted a moment ago');
    await disk.leaveFree(1);
    await expect(writeNew(join(disk.path, 'key'), 'k'.repeat(3 * 4096), state)).rejects.toMatchObject({
      code: 'state_unwritable',
      message: expect.stringContaining(state),
      hint: expect.stringContaining('Free space'),
    });
    expect(await readdir(disk.path)).toEqual(['filler']);
  });
});
