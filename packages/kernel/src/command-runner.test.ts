import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CommandResult, CommandRunner } from './command.ts';
import { systemCommands } from './command-runner.ts';

const run: CommandRunner['run'] = (...args) => systemCommands.run(...args);
const sh = (script: string, more = {}): Promise<CommandResult> =>
  run('sh', ['-c', script], { timeoutMs: 10_000, ...more });

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-kernel-'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

/** Looks until it holds, five seconds at most. */
async function until(holds: () => boolean | Promise<boolean>): Promise<boolean> {
  for (let i = 0; i < 500; i += 1) {
    if (await holds()) return true;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return false;
}

/** The dead whom nobody reaped yet do not live. */
const lives = (pid: number): boolean => {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
};
const pidIn = async (name: string): Promise<number> => {
  await until(() => existsSync(join(folder, name)));
  return Number(await readFile(join(folder, name), 'utf8'));
};

describe('running a program', () => {
  test('tells how it ended and what it said, byte for byte', async () => {
    expect(await sh('printf "a\\n\\n"; printf "b" >&2; exit 3')).toEqual({
      exitCode: 3,
      signal: null,
      timedOut: false,
      stdout: 'a\n\n',
      stderr: 'b',
    });
  });

  test('tells the signal that ended it', async () => {
    expect(await sh('kill -9 $$')).toMatchObject({ exitCode: null, signal: 'SIGKILL', timedOut: false });
  });

  test('passes arguments as they are, hostile ones too', async () => {
    const hostile = ['$(touch /tmp/x)', '; rm -rf /', "it's", '"', '-n', '', 'a b', '*'];
    const end = await run('printf', ['%s\\n', ...hostile], { timeoutMs: 5000 });
    expect(end.stdout).toBe(`${hostile.join('\n')}\n`);
  });

  test('gives it its input and then the end of it', async () => {
    expect((await run('cat', [], { timeoutMs: 5000, input: 'all of it' })).stdout).toBe('all of it');
  });

  test('gives it an empty input where there is none', async () => {
    expect(await run('cat', [], { timeoutMs: 5000 })).toMatchObject({ exitCode: 0, stdout: '' });
  });

  test('survives a program that does not read its input', async () => {
    expect(await run('true', [], { timeoutMs: 5000, input: 'x'.repeat(1_000_000) })).toMatchObject({ exitCode: 0 });
  });

  test('gives it our environment, or exactly the one that is named', async () => {
    process.env['FELHOM_KERNEL_TEST'] = 'ours';
    expect((await sh('echo "$FELHOM_KERNEL_TEST"')).stdout).toBe('ours\n');
    delete process.env['FELHOM_KERNEL_TEST'];
    const named = await run('/usr/bin/env', [], { timeoutMs: 5000, env: { ONLY: 'this' } });
    expect(named.stdout).toBe('ONLY=this\n');
  });

  test('starts it in the folder that is named', async () => {
    expect((await run('pwd', ['-P'], { timeoutMs: 5000, cwd: folder })).stdout).toBe(`${folder}\n`);
  });

  test('says so when it cannot be started, and does not throw', async () => {
    const end = await run('/no/such/program', [], { timeoutMs: 5000 });
    expect(end).toMatchObject({ exitCode: null, signal: null, timedOut: false, spawnError: { code: 'ENOENT' } });
  });

  test('keeps as much of what it says as is asked for, and lets it go on to its end', async () => {
    const end = await sh('head -c 3000000 /dev/zero | tr "\\0" x; echo done >&2; exit 4', { maxOutputBytes: 1000 });
    expect(end).toMatchObject({ exitCode: 4, stderr: 'done\n', timedOut: false });
    expect(end.stdout).toBe('x'.repeat(1000));
  });

  test('hands descriptors on as 3, 4, …', async () => {
    const [first, second] = [await open(join(folder, 'first'), 'w'), await open(join(folder, 'second'), 'w')];
    const end = await sh('echo one >&3; echo two >&4', { inheritFds: [first.fd, second.fd] });
    await first.close();
    await second.close();
    expect(end.exitCode).toBe(0);
    expect(await readFile(join(folder, 'first'), 'utf8')).toBe('one\n');
    expect(await readFile(join(folder, 'second'), 'utf8')).toBe('two\n');
  });

  test('makes it the leader of a group of its own, so that Ctrl-C on our terminal passes it by', async () => {
    const end = await sh('cut -d" " -f5 /proc/$$/stat; echo $$');
    const [group, pid] = end.stdout.trim().split('\n');
    expect(group).toBe(pid);
  });
});

describe('a time limit', () => {
  test('ends the program and everything that it started', async () => {
    const end = await sh(`sleep 600 & echo $! > ${folder}/child; sleep 600`, { timeoutMs: 200 });
    expect(end).toMatchObject({ timedOut: true, signal: 'SIGTERM' });
    expect(await until(async () => !lives(await pidIn('child')))).toBe(true);
  });

  test('ends what ignores SIGTERM, two seconds later', async () => {
    const begun = performance.now();
    const end = await sh(`trap "" TERM; echo $$ > ${folder}/self; while :; do sleep 0.1; done`, { timeoutMs: 200 });
    expect(end).toMatchObject({ timedOut: true, signal: 'SIGKILL' });
    expect(performance.now() - begun).toBeLessThan(8000);
    expect(lives(await pidIn('self'))).toBe(false);
  });

  test('ends a child that ignores SIGTERM although its leader obeyed', async () => {
    const child = `sh -c 'trap "" TERM; echo $$ > ${folder}/child; while :; do sleep 0.1; done' > /dev/null 2>&1 &`;
    const end = await sh(`${child} while [ ! -s ${folder}/child ]; do sleep 0.01; done; sleep 600`, { timeoutMs: 500 });
    expect(end.timedOut).toBe(true);
    expect(lives(await pidIn('child'))).toBe(false);
  });

  test('is kept although a process that left the group holds our pipes', async () => {
    const begun = performance.now();
    const end = await sh(`setsid sh -c 'echo $$ > ${folder}/away; exec sleep 600' & sleep 600`, { timeoutMs: 300 });
    expect(end.timedOut).toBe(true);
    expect(performance.now() - begun).toBeLessThan(8000);
    process.kill(await pidIn('away'), 'SIGKILL');
  });

  test('leaves a program alone that ends in time', async () => {
    expect(await sh('sleep 0.05; echo fine', { timeoutMs: 5000 })).toMatchObject({ timedOut: false, stdout: 'fine\n' });
  });
});

describe('a signal of the caller', () => {
  test('ends the program with its group', async () => {
    const stop = new AbortController();
    const running = sh(`echo $$ > ${folder}/self; sleep 600`, { signal: stop.signal, timeoutMs: 60_000 });
    const pid = await pidIn('self');
    stop.abort();
    expect(await running).toMatchObject({ timedOut: false, signal: 'SIGTERM' });
    expect(lives(pid)).toBe(false);
  });

  test('that was given before the start ends it at once', async () => {
    const end = await sh('sleep 600', { signal: AbortSignal.abort(), timeoutMs: 60_000 });
    expect(end).toMatchObject({ exitCode: null, timedOut: false });
  });
});
