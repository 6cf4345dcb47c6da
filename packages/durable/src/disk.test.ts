import { constants } from 'node:fs';
import { type FileHandle, open, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { systemDisk } from './disk.ts';
import { type ScratchFolder, scratchFolder } from './scratch-disk.ts';

/** The order of syncs is tested through the Disk port; here is shown that its real form makes the system calls. */

let scratch: ScratchFolder;
let path: string;

beforeEach(async () => {
  scratch = await scratchFolder();
  path = join(scratch.path, 'file');
});

afterEach(() => scratch.remove());

/** What every open file handle of Node inherits its methods from. */
async function handles(): Promise<FileHandle> {
  const handle = await open('/dev/null');
  const prototype: FileHandle = Object.getPrototypeOf(handle);
  await handle.close();
  return prototype;
}

describe('the real disk', () => {
  test('syncs a file by fsync, its data by fdatasync, a folder by fsync of the folder', async () => {
    const prototype = await handles();
    const sync = vi.spyOn(prototype, 'sync');
    const dataSync = vi.spyOn(prototype, 'datasync');
    const file = await systemDisk.open(path, constants.O_RDWR | constants.O_CREAT);
    await file.sync();
    expect(sync).toHaveBeenCalledTimes(1);
    await file.dataSync();
    expect(dataSync).toHaveBeenCalledTimes(1);
    await file.close();
    await systemDisk.syncDirectory(scratch.path);
    expect(sync).toHaveBeenCalledTimes(2);
  });

  test('tells how many bytes it took, where it was told to put them', async () => {
    const file = await systemDisk.open(path, constants.O_RDWR | constants.O_CREAT);
    expect(await file.write(Buffer.from('abcdef'), 0)).toBe(6);
    expect(await file.write(Buffer.from('X'), 2)).toBe(1);
    await file.truncate(4);
    expect((await file.readAll()).toString()).toBe('abXd');
    expect(await file.stat()).toMatchObject({ sizeBytes: 4, isFile: true });
    await file.close();
  });

  test('does not follow a symbolic link', async () => {
    await symlink('/etc/passwd', path);
    await expect(systemDisk.open(path, constants.O_RDONLY)).rejects.toMatchObject({ code: 'ELOOP' });
  });

  test('says whether there was something to remove', async () => {
    await (await systemDisk.open(path, constants.O_WRONLY | constants.O_CREAT)).close();
    expect(await systemDisk.remove(path)).toBe(true);
    expect(await systemDisk.remove(path)).toBe(false);
    await expect(readFile(path)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('does not sync what is no folder', async () => {
    await (await systemDisk.open(path, constants.O_WRONLY | constants.O_CREAT)).close();
    await expect(systemDisk.syncDirectory(path)).rejects.toMatchObject({ code: 'ENOTDIR' });
  });
});
