import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
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

/** The agent as a process of its own; answers its exit code. */
async function run(words: readonly string[]): Promise<number> {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', main, ...words], {
    cwd: fileURLToPath(new URL('.', import.meta.url)),
    stdio: 'ignore',
  });
  const [code] = await once(child, 'close');
  return Number(code);
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

/** A serve that says yes to `guest hold`. */
async function answerHolds(socket: string): Promise<() => Promise<void>> {
  const row = { vmid: 101, name: 'ct101', here: true, running: true, has_token: false, calling: false, generation: 1 };
  const body = JSON.stringify({ ...row, refused: null, held: 'mine', storages: [] });
  const server = createServer((_, response) => void response.setHeader('content-type', 'application/json').end(body));
  server.listen(socket);
  await once(server, 'listening');
  return async () => {
    server.close();
    await once(server, 'close');
  };
}

it.each([
  ['guest hold beside a serve', ['guest', 'hold', '101'], 0],
  ['guest hold', ['guest', 'hold', '101'], 0],
  ['reconcile', ['reconcile', '--once'], 10],
])('%s by root leaves nothing there that serve could not open', { timeout: 30_000 }, async (name, words, exit) => {
  const folder = await mkdtemp(join(tmpdir(), 'felhom-owner-'));
  const us = process.getuid?.() ?? 0;
  const owner = us === 0 ? nobody : us;
  const state = join(folder, 'state');
  try {
    await mkdir(state);
    await writeFile(join(folder, 'pve-token'), 'felhom@pve!agent=secret');
    const pve = {
      url: 'https://127.0.0.1:1',
      token_file: join(folder, 'pve-token'),
      fingerprint: `${'AB:'.repeat(31)}CD`,
    };
    const config = { node: 'pve1', pve, state, socket: join(folder, 'sock'), guests: join(folder, 'guests.d') };
    await writeFile(join(folder, 'agent.yaml'), JSON.stringify(config));
    await chmod(folder, 0o755);
    if (us === 0) for (const each of ['state', 'pve-token']) await chown(join(folder, each), nobody, nobody);
    await chmod(join(folder, 'pve-token'), 0o600);
    await mkdir(join(folder, 'guests.d'));
    await writeFile(join(folder, 'guests.d', '101.yaml'), 'vmid: 101\ndesired: { state: running }\n');
    const close = name.endsWith('serve') ? await answerHolds(join(folder, 'sock')) : null;
    expect(await run(['--config', join(folder, 'agent.yaml'), ...words])).toBe(exit);
    await close?.();
    const names = await readdir(state, { recursive: true });
    expect(names).not.toEqual([]);
    for (const each of names) expect([each, (await stat(join(state, each))).uid]).toEqual([each, owner]);
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
