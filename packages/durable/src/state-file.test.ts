import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { type RecordedDisk, recordedDisk, systemError } from './recorded-disk.ts';
import { type ScratchFolder, scratchFolder } from './scratch-disk.ts';
import { type StateFile, stateFile } from './state-file.ts';

const schema = z.object({ n: z.number(), more: z.string().default('none') });
let scratch: ScratchFolder;
let path: string;
let recorded: RecordedDisk;
const open = (version = 1): StateFile<{ n: number; more: string }> =>
  stateFile({ path, version, schema, disk: recorded.disk });

beforeEach(async () => {
  scratch = await scratchFolder();
  path = join(scratch.path, 'state', 'one.json');
  recorded = recordedDisk();
});

afterEach(() => scratch.remove());

describe('a state file', () => {
  test('is absent, then holds what was written, then is absent again', async () => {
    expect(await open().read()).toEqual({ kind: 'absent' });
    await open().write({ n: 1, more: 'x' });
    expect(await open().read()).toEqual({ kind: 'present', value: { n: 1, more: 'x' } });
    await open().remove();
    await open().remove();
    expect(await open().read()).toEqual({ kind: 'absent' });
  });

  test('is 0600 in a folder 0700, and syncs the folder last', async () => {
    await open().write({ n: 1, more: 'x' });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(join(scratch.path, 'state'))).mode & 0o777).toBe(0o700);
    expect(recorded.operations.at(-1)).toBe('syncDirectory state');
  });

  test('is not written where it would be too large to be read again', async () => {
    await open().write({ n: 1, more: 'x' });
    const large = { n: 2, more: 'x'.repeat(17 * 1024 * 1024) };
    await expect(open().write(large)).rejects.toMatchObject({ code: 'state_unwritable' });
    expect(await open().read()).toMatchObject({ kind: 'present', value: { n: 1 } });
  });

  test('leaves the mode of a folder that was there to whoever made it', async () => {
    await mkdir(join(scratch.path, 'state'));
    await chmod(join(scratch.path, 'state'), 0o750);
    await open().write({ n: 1, more: 'x' });
    expect((await stat(join(scratch.path, 'state'))).mode & 0o777).toBe(0o750);
  });

  test('takes what its schema adds for values that an older program wrote', async () => {
    await mkdir(join(scratch.path, 'state'));
    await writeFile(path, '{"version":1,"value":{"n":1}}');
    expect(await open(2).read()).toEqual({ kind: 'present', value: { n: 1, more: 'none' } });
  });

  test.each([
    [''],
    ['{'],
    ['null'],
    ['{"version":"1","value":{"n":1}}'],
    ['{"version":0,"value":{"n":1}}'],
    ['{"value":{"n":1}}'],
    ['{"version":1,"value":{"n":"1"}}'],
    ['\u0000\u0000'],
  ])('that holds %j is unreadable, with the time it was written', async (text) => {
    await mkdir(join(scratch.path, 'state'));
    await writeFile(path, text);
    expect(await open().read()).toMatchObject({ kind: 'unreadable', mtimeMs: (await stat(path)).mtimeMs });
  });

  test('of a newer program is told by its version, whatever its value looks like', async () => {
    await mkdir(join(scratch.path, 'state'));
    await writeFile(path, '{"version":7,"value":"anything"}');
    expect(await open().read()).toEqual({ kind: 'newer', version: 7 });
  });

  test('that this user may not read is a failure, not a finding', async () => {
    await open().write({ n: 1, more: 'x' });
    recorded.before = () => {
      throw systemError('EACCES');
    };
    await expect(open().read()).rejects.toMatchObject({
      code: 'state_unreadable',
      hint: expect.stringContaining('root'),
    });
  });

  test('on a disk that reads with errors is unreadable and not absent', async () => {
    await open().write({ n: 1, more: 'x' });
    recorded.before = () => {
      throw systemError('EIO');
    };
    expect(await open().read()).toMatchObject({ kind: 'unreadable' });
  });

  test('that cannot be written holds what it held, and says so', async () => {
    await open().write({ n: 1, more: 'x' });
    const before = await readFile(path);
    recorded.before = (operation) => {
      if (operation.startsWith('fill')) throw systemError('ENOSPC');
    };
    await expect(open().write({ n: 2, more: 'y' })).rejects.toMatchObject({
      code: 'state_unwritable',
      message: expect.stringContaining('holds what it held'),
    });
    expect(await readFile(path)).toEqual(before);
    expect(await readdir(join(scratch.path, 'state'))).toEqual(['one.json']);
  });

  test('refuses a value that its own schema would not read', async () => {
    const odd: unknown = { n: Number.NaN, more: 'x' };
    await expect(open().write(odd as { n: number; more: string })).rejects.toMatchObject({ code: 'bug' });
    expect(await open().read()).toEqual({ kind: 'absent' });
  });
});
