import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { constants, fstatSync } from 'node:fs';
import { chmod, mkdir, open, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '@felhom/kernel/clock.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Disk, systemDisk } from './disk.ts';
import { readLockHolder } from './lock-holder.ts';
import { lockProcesses } from './lock-processes.ts';
import { recordedDisk, systemError } from './recorded-disk.ts';
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

describe('the lock of a run', () => {
  test('is held by one at a time, and free again after release', async () => {
    const lock = await take();
    expect(await acquireRunLock(path, await us())).toMatchObject({ kind: 'busy', holder: { purpose: 'test' } });
    await lock.release();
    await lock.release();
    expect(await takeSoon()).toBe('held-by-us');
  });

  test('makes its file 0600 in a folder 0700', async () => {
    const lock = await take();
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(dirname(path))).mode & 0o777).toBe(0o700);
    await lock.release();
  });

  test('keeps its file and its inode over release and the next holder', async () => {
    const first = await take();
    const { ino } = await stat(path);
    await first.release();
    const second = await take();
    expect((await stat(path)).ino).toBe(ino);
    await second.release();
    expect((await stat(path)).ino).toBe(ino);
  });

  test('tells others who holds it, and what changed', async () => {
    const lock = await take();
    await lock.update(await us({ purpose: 'a much longer purpose than before', deadlineMs: 12 }));
    await lock.update(await us({ purpose: 'short', runId: 'r1' }));
    expect(await readLockHolder(path)).toEqual(await us({ purpose: 'short', runId: 'r1' }));
    await lock.release();
    expect(await readLockHolder(path)).toBeNull();
  });

  test('whose file says nothing readable is still busy', async () => {
    const lock = await take();
    for (const text of [
      '{"pid": "x',
      '[]',
      'null',
      '{"pid":-1,"startTime":"1"}',
      '{"pid":1}',
      '{"pid":1,"startTime":"1","runId":2}',
    ]) {
      await writeFile(path, text);
      expect(await acquireRunLock(path, await us())).toEqual({ kind: 'busy', holder: null });
    }
    await lock.release();
  });

  test('with an old holder in its file and nobody behind it is free', async () => {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, JSON.stringify(await us({ purpose: 'stale' })));
    const lock = await take();
    expect(await readLockHolder(path)).toMatchObject({ purpose: 'test' });
    await lock.release();
  });

  test('whose holder cannot be written down does not name the last one', async () => {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, JSON.stringify(await us({ purpose: 'stale' })));
    const recorded = recordedDisk();
    recorded.before = (operation) => {
      if (operation.startsWith('write')) throw systemError('ENOSPC');
    };
    const acquired = await acquireRunLock(path, await us({ purpose: 'new' }), recorded.disk);
    if (acquired.kind !== 'held-by-us') throw new Error('the lock is busy');
    expect(await acquireRunLock(path, await us())).toEqual({ kind: 'busy', holder: null });
    await acquired.lock.release();
  });

  test('does not hang at a pipe in its place, and refuses it', async () => {
    await mkdir(dirname(path), { recursive: true });
    execFileSync('sh', ['-c', 'mkfifo "$0"', path]);
    await expect(acquireRunLock(path, await us())).rejects.toMatchObject({ code: 'refused' });
  });

  test('does not follow a symbolic link', async () => {
    await mkdir(dirname(path), { recursive: true });
    const target = join(scratch.path, 'victim');
    await writeFile(target, 'precious');
    await symlink(target, path);
    await expect(acquireRunLock(path, await us())).rejects.toMatchObject({ code: 'refused' });
    expect(await readFile(target, 'utf8')).toBe('precious');
  });

  test('refuses a folder in its place', async () => {
    await mkdir(path, { recursive: true });
    await expect(acquireRunLock(path, await us())).rejects.toMatchObject({ code: 'refused' });
  });

  test('on a file that is replaced between its opening and its locking is taken on the one that is there now', async () => {
    let opened = 0;
    const disk: Disk = {
      ...systemDisk,
      open: async (...args) => {
        const file = await systemDisk.open(...args);
        opened += 1;
        if (opened === 1) await rename(path, `${path}.moved`);
        return file;
      },
    };
    await (await take()).release();
    const acquired = await acquireRunLock(path, await us(), disk);
    if (acquired.kind !== 'held-by-us') throw new Error('the lock is busy');
    expect(opened).toBe(2);
    expect(fstatSync(acquired.lock.fd).ino).toBe((await stat(path)).ino);
    await acquired.lock.release();
  });

  test('on a file that is replaced again and again is refused', async () => {
    const disk: Disk = {
      ...systemDisk,
      open: async (...args) => {
        const file = await systemDisk.open(...args);
        await rm(path);
        return file;
      },
    };
    await (await take()).release();
    await expect(acquireRunLock(path, await us(), disk)).rejects.toMatchObject({ code: 'refused' });
  });
});

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

describe('waiting for the lock', () => {
  test('gives up at its deadline and names the holder', async () => {
    const lock = await take();
    let nowMs = 0;
    const slept: number[] = [];
    const clock = {
      nowMs: () => nowMs,
      monotonicMs: () => nowMs,
      sleep: async (ms: number) => {
        slept.push(ms);
        nowMs += ms;
      },
    };
    const acquired = await waitForLock(path, await us(), { deadlineMs: 1000, clock });
    expect(acquired).toMatchObject({ kind: 'busy', holder: { purpose: 'test' } });
    expect(nowMs).toBe(1000);
    expect(slept).toEqual([20, 40, 80, 160, 320, 380]);
    await lock.release();
  });

  test('takes it as soon as it is given back', async () => {
    const lock = await take();
    const waiting = takeSoon();
    await lock.release();
    expect(await waiting).toBe('held-by-us');
  });

  test('ends when its signal aborts', async () => {
    const lock = await take();
    const stop = new AbortController();
    const deadlineMs = systemClock.monotonicMs() + 60_000;
    const waiting = waitForLock(path, await us(), { deadlineMs, clock: systemClock, signal: stop.signal });
    stop.abort();
    expect((await waiting).kind).toBe('busy');
    await lock.release();
  });

  test('tries once where the deadline has passed', async () => {
    const acquired = await waitForLock(path, await us(), { deadlineMs: -1, clock: systemClock });
    if (acquired.kind !== 'held-by-us') throw new Error('the lock is busy');
    expect(await acquireRunLock(path, await us())).toMatchObject({ kind: 'busy' });
    await acquired.lock.release();
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
