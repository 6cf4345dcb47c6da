import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bundle } from './bundle.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-bundle-'));
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function source(files: Record<string, string>): Promise<string> {
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  return join(folder, 'main.ts');
}

async function build(entry: string): Promise<Map<string, string>> {
  return bundle({ base: folder, entries: { tool: entry }, output: join(folder, 'dist') });
}

async function installElsewhere(files: Map<string, string>): Promise<string> {
  const elsewhere = join(folder, 'elsewhere');
  for (const [name, text] of files) {
    await mkdir(dirname(join(elsewhere, name)), { recursive: true });
    await writeFile(join(elsewhere, name), text, { mode: 0o755 });
  }
  return join(elsewhere, 'tool.js');
}

const lazy = {
  'main.ts':
    "if (process.argv[2] === 'go') void import('./heavy.ts').then(({ go }) => go());\nelse console.log('help');\n",
  'heavy.ts':
    "export function go(): void {\n  using end = { [Symbol.dispose]: () => console.log('disposed') };\n  console.log(typeof end);\n}\n",
};

describe('a bundle', () => {
  it('is the same, byte for byte, when it is built again', async () => {
    const entry = await source(lazy);
    expect([...(await build(entry))]).toEqual([...(await build(entry))]);
  });

  it('runs from anywhere as a program, with syntax that Node 20 does not know lowered', async () => {
    const program = await installElsewhere(await build(await source(lazy)));
    const end = spawnSync(program, ['go'], { cwd: '/', encoding: 'utf8', timeout: 20_000 });
    expect(end.stdout).toBe('object\ndisposed\n');
  });

  it('loads a command only when it is asked for', async () => {
    const files = await build(await source(lazy));
    expect([...files.keys()]).toContain('chunks/heavy.js');
    const program = await installElsewhere(new Map([...files].filter(([name]) => name !== 'chunks/heavy.js')));
    expect(spawnSync(program, [], { encoding: 'utf8', timeout: 20_000 }).stdout).toBe('help\n');
  });

  it('says nothing about the machine that built it', async () => {
    const files = await build(await source(lazy));
    for (const [name, text] of files) expect(text, name).not.toContain(folder);
  });

  it('refuses an import that cannot be found', async () => {
    const entry = await source({ 'main.ts': "import { gone } from './gone.ts';\nconsole.log(gone);\n" });
    await expect(build(entry)).rejects.toThrow('./gone.ts');
  });
});
