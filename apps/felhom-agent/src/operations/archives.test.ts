import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { archiveReader } from './archives.ts';
import type { TargetBackup } from './ports.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-archive-'));
  await writeFile(join(folder, 'data'), Buffer.alloc(200_000, 'what the guest holds '));
  for (const [name, option] of [
    ['a.tar', '-cf'],
    ['a.tar.zst', '--zstd -cf'],
    ['a.tar.gz', '-czf'],
  ]) {
    const words = String(option).split(' ');
    await systemCommands.run('tar', [...words, String(name), 'data'], { cwd: folder, timeoutMs: 10_000 });
  }
  await systemCommands.run('zstd', ['-q', 'data', '-o', 'a.vma.zst'], { cwd: folder, timeoutMs: 10_000 });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const backup = (name: string | null, more: Partial<TargetBackup> = {}): TargetBackup => ({
  volid: `bk:backup/${name}`,
  vmid: 101,
  kind: 'lxc',
  sizeBytes: 1,
  protected: false,
  verification: null,
  path: name === null ? null : join(folder, name),
  ...more,
});
const read = async (of: TargetBackup) => (await archiveReader(systemCommands).read(of, undefined)).kind;

describe('an archive', () => {
  const names = ['a.tar', 'a.tar.zst', 'a.tar.gz', 'a.vma.zst'];
  it.each(names)('%s is read to its end', async (name) => {
    expect(await read(backup(name))).toBe('whole');
  });

  it.each(names)('%s with its end missing is told', async (name) => {
    const bytes = await readFile(join(folder, name));
    // Of a tar without its end whole members are left: a cut in the middle of one is what must be noticed.
    await writeFile(join(folder, `cut-${name}`), bytes.subarray(0, Math.floor(bytes.length / 2) - 100));
    expect(await archiveReader(systemCommands).read(backup(`cut-${name}`), undefined)).toMatchObject({
      kind: 'unreadable',
      why: expect.stringContaining(`cut-${name}`),
    });
  });

  it('that its storage has verified is taken as read, and one that it found damaged is not', async () => {
    expect(await read(backup(null, { verification: 'ok' }))).toBe('whole');
    expect(await read(backup('a.tar', { verification: 'failed' }))).toBe('unreadable');
  });

  it('that is no file here, is gone, or of an unknown kind proves nothing', async () => {
    expect(await read(backup(null))).toBe('unproven');
    expect(await read(backup('gone.tar'))).toBe('unproven');
    expect(await read(backup('data'))).toBe('unproven');
  });

  it('whose reader cannot be run proves nothing', async () => {
    const none = { run: async () => await systemCommands.run('/nowhere/tar', [], { timeoutMs: 1_000 }) };
    expect((await archiveReader(none).read(backup('a.tar'), undefined)).kind).toBe('unproven');
  });
});
