import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { chmod, mkdir, open, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '@felhom/kernel/clock.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readLockHolder } from './lock-holder.ts';
import { lockProcesses } from './lock-processes.ts';
import { acquireRunLock, isAlive, processStartTime, type RunLock, waitForLock } from './run-lock.ts';
import { type ScratchFolder, scratchFolder } from './scratch-disk.ts';

let scratch: ScratchFolder;
let path: string;
const children: ChildProcess[] = [];

beforeEach(async () => {
  scratch = await scratchFolder();
  path = join(scratch.path, 'run', 'run.lock');
});

afterEach(async () => {
  for (const child of children.splice(0)) if (child.exitCode === null) child.kill('SIGKILL');
  await scratch.remove();
});

const us = async (more = {}) => ({ pid: process.pid, startTime: (await processStartTime(process.pid)) ?? '', ...more });

async function take(): Promise<RunLock> {
  const acquired = await acquireRunLock(path, await us({ purpose: 'test' }));
  if (acquired.kind !== 'held-by-us') throw new Error('the lock is busy');
  return acquired.lock;
}

/** Another process with the lock: it stays until its standard input ends. What it `said` is how it fared, or what the script sets. */
async function holderProcess(
  script = 'process.stdin.resume();',
): Promise<{ child: ChildProcess; pid: number; said: string }> {
  const module = fileURLToPath(new URL('./run-lock.ts', import.meta.url));
  const source = `
    const { acquireRunLock, processStartTime } = await import(${JSON.stringify(module)});
    const { spawn } = await import('node:child_process');
    const holder = { pid: process.pid, startTime: await processStartTime(process.pid), purpose: 'other', deadlineMs: 5 };
    const acquired = await acquireRunLock(${JSON.stringify(path)}, holder);
    let lock = acquired.lock;
    let said = acquired.kind;
    ${script}
    process.stdout.write(said + '\\n');
  `;
  const child = spawn(process.execPath, ['--expose-gc', '--import', 'tsx', '--input-type=module', '-e', source], {
    stdio: ['pipe', 'pipe', 'inherit'],
    cwd: dirname(module),
  });
  children.push(child);
  const said = await new Promise<string>((resolve, reject) => {
    child.stdout.once('data', (data) => resolve(String(data).trim()));
    child.once('exit', (code) => reject(new Error(`the holder ended with ${code} before it held the lock`)));
  });
  if (child.pid === undefined) throw new Error('the holder did not start');
  return { child, pid: child.pid, said };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await new Promise((resolve) => child.once('exit', resolve));
}

/** Takes the lock within ten seconds: what the kernel frees is free at once, reaping takes a moment. */
const takeSoon = async (): Promise<string> => {
  const end = systemClock.monotonicMs() + 10_000;
  const acquired = await waitForLock(path, await us(), { deadlineMs: end, clock: systemClock });
  if (acquired.kind === 'held-by-us') await acquired.lock.release();
  return acquired.kind;
};

describe('another process with the lock', () => {
  test('keeps us out, is named, and frees it by kill -9', async () => {
    const other = await holderProcess();
    expect(await acquireRunLock(path, await us())).toMatchObject({
      kind: 'busy',
      holder: { pid: other.pid, purpose: 'other', deadlineMs: 5 },
    });
    const holder = await readLockHolder(path);
    if (holder === null) throw new Error('the holder is not named');
    expect(await isAlive(holder)).toBe(true);
    other.child.kill('SIGKILL');
    await ended(other.child);
    expect(await takeSoon()).toBe('held-by-us');
    expect(await isAlive(holder)).toBe(false);
  });

  test('leaves it to a child that inherited its descriptor', async () => {
    const spawnChild = `
      const child = spawn('sleep', ['600'], { detached: true, stdio: ['ignore', 'ignore', 'ignore', lock.fd] });
      child.unref();
      process.stdin.resume();`;
    const other = await holderProcess(spawnChild);
    other.child.kill('SIGKILL');
    await ended(other.child);
    expect(await acquireRunLock(path, await us())).toMatchObject({ kind: 'busy', holder: { pid: other.pid } });
    const left = await lockProcesses(path);
    expect(left).toHaveLength(1);
    const [child] = left;
    if (child === undefined) throw new Error('nobody holds the lock');
    expect(child.group).toBe(child.pid);
    expect(await processStartTime(child.pid)).toBe(child.startTime);
    process.kill(-child.group, 'SIGKILL');
    expect(await takeSoon()).toBe('held-by-us');
  });

  test('does not leave it to a child that was not given its descriptor', async () => {
    const spawnChild = `
      const child = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' });
      child.unref();
      said = String(child.pid);
      process.stdin.resume();`;
    const other = await holderProcess(spawnChild);
    expect((await lockProcesses(path)).map(({ pid }) => pid)).toEqual([other.pid]);
    other.child.kill('SIGKILL');
    await ended(other.child);
    expect(await takeSoon()).toBe('held-by-us');
    process.kill(Number(other.said), 'SIGKILL');
  });

  test('keeps it although nothing of the program refers to it any more', async () => {
    const other = await holderProcess(`
      acquired.lock = lock = undefined;
      for (let i = 0; i < 10; i += 1) {
        globalThis.gc();
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      process.stdin.resume();`);
    expect(await acquireRunLock(path, await us())).toMatchObject({ kind: 'busy', holder: { pid: other.pid } });
  });

  test('leaves it to its children even when it releases', async () => {
    const spawnChild = `
      const child = spawn('sleep', ['600'], { detached: true, stdio: ['ignore', 'ignore', 'ignore', lock.fd] });
      child.unref();
      await lock.release();
      process.stdin.resume();`;
    await holderProcess(spawnChild);
    expect(await acquireRunLock(path, await us())).toEqual({ kind: 'busy', holder: null });
    for (const { group } of await lockProcesses(path)) process.kill(-group, 'SIGKILL');
    expect(await takeSoon()).toBe('held-by-us');
  });
});

describe('looking for the processes of a lock', () => {
  test('finds none where nobody holds it, even if somebody has it open', async () => {
    await mkdir(dirname(path), { recursive: true });
    const file = await open(path, constants.O_RDWR | constants.O_CREAT);
    const child = spawn('sleep', ['600'], { stdio: ['ignore', 'ignore', 'ignore', file.fd] });
    children.push(child);
    await new Promise((resolve) => child.once('spawn', resolve));
    expect(await lockProcesses(path)).toEqual([]);
    await file.close();
  });

  test('leaves ourselves out', async () => {
    const lock = await take();
    expect(await lockProcesses(path)).toEqual([]);
    await lock.release();
  });

  test('finds none where there is no lock file', async () => {
    expect(await lockProcesses(path)).toEqual([]);
  });
});

describe('a process', () => {
  test('is known by its pid and the time of its start', async () => {
    const startTime = await processStartTime(process.pid);
    expect(startTime).toMatch(/^\d+$/);
    expect(await isAlive({ pid: process.pid, startTime: startTime ?? '' })).toBe(true);
    expect(await isAlive({ pid: process.pid, startTime: '1' })).toBe(false);
  });

  test('that is dead but not reaped is not alive', async () => {
    // The shell becomes a sleep, which never waits for its children.
    const shell = spawn('sh', ['-c', 'sleep 600 & echo $!; exec sleep 600'], { stdio: ['ignore', 'pipe', 'ignore'] });
    children.push(shell);
    const pid = Number(
      await new Promise<string>((resolve) => shell.stdout.once('data', (data) => resolve(String(data)))),
    );
    const startTime = await processStartTime(pid);
    const parent = async (): Promise<string> => readFile(`/proc/${shell.pid}/comm`, 'utf8');
    for (let i = 0; i < 1000 && (await parent()) !== 'sleep\n'; i += 1) await systemClock.sleep(5);
    process.kill(pid, 'SIGKILL');
    const zombie = async (): Promise<boolean> => (await readFile(`/proc/${pid}/stat`, 'utf8')).includes(') Z ');
    for (let i = 0; i < 1000 && !(await zombie()); i += 1) await systemClock.sleep(5);
    expect(await zombie()).toBe(true);
    expect(await isAlive({ pid, startTime: startTime ?? '' })).toBe(false);
  });

  test.each([0, -1, 1.5, 2 ** 31])('with the pid %d does not exist', async (pid) => {
    expect(await processStartTime(pid)).toBeNull();
  });

  test('whose name holds blanks and parentheses is read all the same', async () => {
    const program = join(scratch.path, 'a) Z 1 (b');
    await writeFile(program, await readFile('/bin/sleep'));
    await chmod(program, 0o755);
    const child = spawn(program, ['600'], { stdio: 'ignore' });
    children.push(child);
    await new Promise((resolve) => child.once('spawn', resolve));
    expect(await processStartTime(child.pid ?? 0)).toMatch(/^\d+$/);
    child.kill('SIGKILL');
    await ended(child);
    await rm(program);
  });
});
