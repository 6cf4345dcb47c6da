import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { HeldLock, LockPort } from '../quiesce/ports.ts';
import { lockPath, readHolders } from './lock-holders.ts';
import { lockPort } from './lock-port.ts';

let runDir: string;
let port: LockPort;
const held: HeldLock[] = [];

beforeEach(() => {
  runDir = mkdtempSync(join(tmpdir(), 'felhom-lock-'));
  port = lockPort({ runDir, engineId: async () => 'AB:CD/../EF' });
});
afterEach(async () => {
  for (const lock of held.splice(0)) await lock.release();
  rmSync(runDir, { recursive: true, force: true });
});

async function take(what: 'backup' | 'recover', runId: string | null): Promise<HeldLock> {
  const answer = await port.acquire(what, runId);
  if (answer.kind !== 'held') throw new Error('expected the lock');
  held.push(answer.lock);
  return answer.lock;
}

async function until(what: () => boolean | Promise<boolean>): Promise<boolean> {
  const endAt = performance.now() + 5_000;
  while (performance.now() < endAt) {
    if (await what()) return true;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return false;
}

describe('the run lock', () => {
  it('lies in the run folder whatever the id of the engine holds', () => {
    expect(lockPath('/run/felhom', 'AB:CD/../EF')).toBe('/run/felhom/engine-AB_CD_.._EF.lock');
  });

  it('is held by one, and tells the other who that is and by when', async () => {
    const lock = await take('backup', 'run-1');
    await lock.update({ runId: 'run-1', deadlineMs: 12_345 });
    const other = await port.acquire('recover', null);
    if (other.kind !== 'busy') throw new Error('expected busy');
    expect(other.holder).toMatchObject({ pid: process.pid, what: 'backup', runId: 'run-1', deadlineMs: 12_345 });
    expect(other.holder !== null && (await port.isAlive(other.holder))).toBe(true);
    expect(await readHolders(runDir)).toEqual([other.holder]);
  });

  it('is free once it was released, and names nobody', async () => {
    await (await take('backup', 'run-1')).release();
    expect(await readHolders(runDir)).toEqual([]);
    await take('recover', null);
    expect(await readHolders(runDir)).toMatchObject([{ what: 'recover', runId: null, deadlineMs: null }]);
  });

  it('is kept by a child that inherited it, until that and its whole group are ended', async () => {
    const lock = await take('backup', 'run-1');
    const inherited = lock.inheritFds[0] ?? 0;
    const child = spawn('/bin/sh', ['-c', 'sleep 60 & wait'], {
      stdio: ['ignore', 'ignore', 'ignore', inherited],
      detached: true,
    });
    const ended = new Promise((resolve) => child.once('exit', (_code, signal) => resolve(signal)));
    await new Promise((resolve) => child.once('spawn', resolve));
    await lock.release();
    expect((await port.acquire('recover', null)).kind).toBe('busy');
    await port.endChildren();
    expect(await ended).toBe('SIGKILL');
    expect(
      await until(async () => {
        const answer = await port.acquire('recover', null);
        if (answer.kind === 'held') held.push(answer.lock);
        return answer.kind === 'held';
      }),
    ).toBe(true);
  });

  it('never has another process ended than the very one that held it', async () => {
    const child = spawn('/bin/sleep', ['60'], { stdio: 'ignore' });
    const ended = new Promise((resolve) => child.once('exit', (_code, signal) => resolve(signal)));
    await new Promise((resolve) => child.once('spawn', resolve));
    const holder = { pid: child.pid ?? 0, startTime: '1', what: 'backup', runId: null, deadlineMs: null } as const;
    await port.endHolder(holder);
    expect(await port.isAlive(holder)).toBe(false);
    expect(child.exitCode).toBeNull();
    expect(child.signalCode).toBeNull();
    child.kill('SIGTERM');
    expect(await ended).toBe('SIGTERM');
  });
});
