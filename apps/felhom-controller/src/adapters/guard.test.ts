import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { shellGuard } from './guard.ts';

let folder: string;
let witness: string;
let recovery: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'felhom guard-'));
  witness = join(folder, "it's recovered");
  recovery = [
    '/bin/sh',
    '-c',
    'ps -o pid= -o pgid= -p $$ > "$1.new"; ls /proc/$$/fd >> "$1.new"; mv "$1.new" "$1"',
    'x',
    witness,
  ];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function until(what: () => boolean, boundMs = 5_000): Promise<boolean> {
  const endAt = performance.now() + boundMs;
  while (!what() && performance.now() < endAt) await new Promise((resolve) => setImmediate(resolve));
  return what();
}

const env = { PATH: '/usr/bin:/bin' };

describe('the guard', () => {
  it('recovers at its limit, in a process group of its own and with no descriptor of ours', async () => {
    const guard = await shellGuard({ command: recovery, env }).start();
    guard.arm(100);
    expect(await until(() => existsSync(witness))).toBe(true);
    const [ids = '', ...descriptors] = readFileSync(witness, 'utf8').trim().split('\n');
    const [, group] = ids.trim().split(/\s+/);
    expect(Number(group)).not.toBe(process.pid);
    expect(descriptors.filter((fd) => Number(fd) > 2 && Number(fd) < 10)).toEqual([]);
  });

  it('is armed anew by each call: the last limit counts', async () => {
    const guard = await shellGuard({ command: recovery, env }).start();
    guard.arm(60_000);
    guard.arm(100);
    expect(await until(() => existsSync(witness))).toBe(true);
  });

  it('ends without recovering when it is told that all is paid', async () => {
    const guard = await shellGuard({ command: recovery, env }).start();
    guard.arm(100_000);
    guard.disarm();
    const mine = (): boolean => readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').trim() === '';
    expect(await until(mine)).toBe(true);
    expect(existsSync(witness)).toBe(false);
  });

  it.each(['armed', 'unarmed'])('recovers at once when we are killed, %s', async (state) => {
    const source = `
      import { shellGuard } from ${JSON.stringify(new URL('./guard.ts', import.meta.url).href)};
      const guard = await shellGuard({ command: ${JSON.stringify(recovery)}, env: { PATH: '/usr/bin:/bin' } }).start();
      ${state === 'armed' ? 'guard.arm(100000);' : ''}
      setTimeout(() => process.kill(process.pid, 'SIGKILL'), 50);
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], {
      stdio: 'ignore',
    });
    const ended = new Promise((resolve) => child.once('exit', (_code, signal) => resolve(signal)));
    expect(await ended).toBe('SIGKILL');
    expect(await until(() => existsSync(witness))).toBe(true);
  });
});
