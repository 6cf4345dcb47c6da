import { type ChildProcess, execFileSync } from 'node:child_process';
import { fstatSync } from 'node:fs';
import { mkdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemClock } from '@felhom/kernel/clock.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Disk, systemDisk } from './disk.ts';
import { readLockHolder } from './lock-holder.ts';
import { recordedDisk, systemError } from './recorded-disk.ts';
import { acquireRunLock, processStartTime, type RunLock, waitForLock } from './run-lock.ts';
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
