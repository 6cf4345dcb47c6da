import { execFile } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { socketRootHelper } from 'felhom-agent/backup/root-helper.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const helper = resolve(import.meta.dirname, '../../packaging/root-helper/felhom-root-helper');
let folder: string;
let server: Server | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'felhom-root-'));
});
afterEach(() => {
  server?.close();
  server = undefined;
  rmSync(folder, { recursive: true, force: true });
});

/** A stand-in for lxc-unfreeze that writes down how it was called. */
function thaw(ending: string): string {
  const program = join(folder, 'thaw');
  writeFileSync(program, `#!/bin/sh\nprintf "%s %s\\n" "$@" >>'${folder}/called'\n${ending}\n`);
  chmodSync(program, 0o755);
  return program;
}

const called = (): string => (existsSync(join(folder, 'called')) ? readFileSync(join(folder, 'called'), 'utf8') : '');

async function tell(line: string, program = thaw('exit 0')): Promise<string> {
  return await new Promise((done) => {
    const child = execFile(helper, [program], (_error, stdout) => done(stdout));
    child.stdin?.end(line);
  });
}

describe('the root helper', () => {
  it('thaws a container', async () => {
    expect(await tell('unfreeze 101\n')).toBe('ok\n');
    expect(called()).toBe('-n 101\n');
  });

  it('says on one line why it could not', async () => {
    expect(await tell('unfreeze 101\n', thaw('echo "no such\ncontainer" >&2; exit 1'))).toBe(
      'failed no such container\n',
    );
  });

  it.each([
    'unfreeze',
    'unfreeze ',
    'unfreeze 101 102',
    'unfreeze -n',
    'unfreeze 0101',
    'unfreeze $(reboot)',
    "unfreeze 101'; reboot; '",
    'unfreeze 1012345678901234567890123456789012345678901234567890123456789012345678',
    '101',
    'destroy 101',
    '/bin/sh 101',
    '* 101',
    '',
  ])('refuses %j, and runs nothing', async (line) => {
    expect(await tell(`${line}\n`)).toMatch(/^failed .+\n$/);
    expect(called()).toBe('');
  });
});

describe('the agent and its root helper', () => {
  /** What systemd does with `Accept=yes`: one helper a connection, the connection its input and output. */
  const listen = async (program: string): Promise<string> => {
    const path = join(folder, 'helper.sock');
    server = createServer({ allowHalfOpen: true }, (connection) => {
      const child = execFile(helper, [program], (_error, stdout) => connection.end(stdout));
      if (child.stdin !== null) connection.pipe(child.stdin);
    });
    await new Promise<void>((done) => server?.listen(path, done));
    return path;
  };

  it('hears that the container is thawed', async () => {
    expect(await socketRootHelper(await listen(thaw('exit 0'))).unfreeze(101)).toBe(true);
    expect(called()).toBe('-n 101\n');
  });

  it('hears that it is not', async () => {
    expect(await socketRootHelper(await listen(thaw('exit 1'))).unfreeze(101)).toBe(false);
  });

  it('has nobody to ask without a socket, and says so where nobody answers', async () => {
    expect(await socketRootHelper(undefined).unfreeze(101)).toBe(false);
    await expect(socketRootHelper(join(folder, 'nobody.sock')).unfreeze(101)).rejects.toThrow('ENOENT');
  });
});
