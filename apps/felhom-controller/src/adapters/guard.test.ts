import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { shellGuard } from './guard.ts';

const boundMs = 10_000;

async function until(holds: () => boolean): Promise<void> {
  const end = performance.now() + boundMs;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`it did not come to that within ${boundMs} ms`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

/** Whether a process names the folder in its arguments. */
function isGuarded(folder: string): boolean {
  return readdirSync('/proc').some((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(folder);
    } catch {
      return false; // It ended meanwhile.
    }
  });
}

describe('the guard', () => {
  let folder: string;
  let recovered: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'felhom-guard-'));
    recovered = join(folder, 'recovered with spaces');
  });
  afterEach(async () => await rm(folder, { recursive: true }));
  const guard = () =>
    shellGuard({
      command: ['/bin/sh', '-c', 'env >"$1.new"; mv "$1.new" "$1"', 'x', recovered],
      env: { PATH: process.env['PATH'], KEPT: 'yes', COMPOSE_FILE: '/x' },
    });

  it('recovers at its limit when nothing is heard of us', async () => {
    const started = await guard().start();
    started.arm(200);
    await until(() => existsSync(recovered));
    const env = await readFile(recovered, 'utf8');
    expect(env).toContain('KEPT=yes');
    expect(env).not.toContain('COMPOSE_FILE');
    started.disarm();
  });

  it('ends without recovering once it is told that all is paid', async () => {
    const started = await guard().start();
    started.arm(300);
    started.disarm();
    await until(() => !isGuarded(folder));
    expect(existsSync(recovered)).toBe(false);
  });

  it.each(['armed', 'not armed'])('recovers when the process that holds its pipe is killed (%s)', async (state) => {
    const script = `
      import { shellGuard } from ${JSON.stringify(new URL('./guard.ts', import.meta.url).href)};
      const started = await shellGuard({ command: ['/bin/sh', '-c', 'echo >"$1"', 'x', ${JSON.stringify(recovered)}], env: process.env }).start();
      ${state === 'armed' ? 'started.arm(600000);' : ''}
      process.kill(process.pid, 'SIGKILL');
    `;
    const tsx = new URL('../../../../node_modules/.bin/tsx', import.meta.url).pathname;
    const child = spawn(tsx, ['--input-type=module', '--eval', script], { stdio: 'ignore' });
    await new Promise((done) => child.once('close', done));
    await until(() => existsSync(recovered));
  });
});
