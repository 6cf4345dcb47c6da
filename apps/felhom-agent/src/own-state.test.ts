import { execFile } from 'node:child_process';
import { chmod, chown, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const nobody = 65_534;

/** Writes a file into the folder by a process of its own, which becomes its owner first. Answers whose file it is. */
async function writeAsOwner(folder: string): Promise<number> {
  const module = fileURLToPath(new URL('./own-state.ts', import.meta.url));
  const source = `
    const { writeFile } = await import('node:fs/promises');
    const { becomeOwnerOf } = await import(${JSON.stringify(module)});
    await becomeOwnerOf(${JSON.stringify(folder)});
    await writeFile(${JSON.stringify(join(folder, 'file'))}, process.getgroups().toSorted((a, b) => a - b).join(' '));`;
  const cwd = fileURLToPath(new URL('.', import.meta.url));
  await promisify(execFile)(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], { cwd });
  return (await stat(join(folder, 'file'))).uid;
}

it('what root writes into the state folder of another user belongs to that user, whose groups are kept', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'felhom-owner-'));
  const us = process.getuid?.() ?? 0;
  try {
    if (us === 0) {
      await chown(folder, nobody, nobody);
      await chmod(folder, 0o700);
    }
    expect(await writeAsOwner(folder)).toBe(us === 0 ? nobody : us);
    const { stdout } = await promisify(execFile)('id', ['-G', String(us === 0 ? nobody : us)]);
    const groups = stdout
      .trim()
      .split(' ')
      .map(Number)
      .toSorted((a, b) => a - b);
    expect(await readFile(join(folder, 'file'), 'utf8')).toBe(groups.join(' '));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

it('a folder of our own, or one that is not there, changes nothing', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'felhom-owner-'));
  try {
    expect(await writeAsOwner(folder)).toBe(process.getuid?.());
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
