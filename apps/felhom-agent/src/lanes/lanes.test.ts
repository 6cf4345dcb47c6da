import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fileLanes } from './lanes.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-lanes-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('the lane of a guest', () => {
  it('is held by one, and says what for', async () => {
    const [backup, reconcile] = [fileLanes(folder, 'backup'), fileLanes(folder, 'reconcile')];
    const lane = await backup.tryGuest(101);
    expect(lane).not.toBeNull();
    expect(await reconcile.tryGuest(101)).toBeNull();
    expect(await backup.tryGuest(101)).toBeNull();
    expect(await reconcile.guestHolder(101)).toBe(`backup, process ${process.pid}`);
    expect(await reconcile.tryGuest(102)).not.toBeNull();
    await lane?.release();
    await lane?.release();
    expect(await reconcile.guestHolder(101)).toBeNull();
    const next = await reconcile.tryGuest(101);
    expect(next).not.toBeNull();
    await next?.release();
  });

  it('is held across processes, and free once its holder was killed', async () => {
    const module = fileURLToPath(new URL('./lanes.ts', import.meta.url));
    const source = `
      const { fileLanes } = await import(${JSON.stringify(module)});
      await fileLanes(${JSON.stringify(folder)}, 'reconcile').tryGuest(101);
      process.stdout.write('held');
      setInterval(() => undefined, 1000);`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], {
      stdio: ['ignore', 'pipe', 'inherit'],
      cwd: fileURLToPath(new URL('.', import.meta.url)),
    });
    await once(child.stdout, 'data');
    const lanes = fileLanes(folder, 'backup');
    expect(await lanes.tryGuest(101)).toBeNull();
    expect(await lanes.guestHolder(101)).toBe(`reconcile, process ${child.pid}`);
    child.kill('SIGKILL');
    await once(child, 'close');
    const lane = await lanes.tryGuest(101);
    expect(lane).not.toBeNull();
    await lane?.release();
  });
});

describe('the places for mutations', () => {
  it('are as many as were said, for all processes together', async () => {
    const [one, other] = [fileLanes(folder, 'reconcile'), fileLanes(folder, 'operation')];
    const held = [await one.tryMutation(2), await other.tryMutation(2)];
    expect(held).not.toContain(null);
    expect(await one.tryMutation(2)).toBeNull();
    await held[0]?.release();
    const next = await other.tryMutation(2);
    expect(next).not.toBeNull();
    await Promise.all([held[1]?.release(), next?.release()]);
  });
});
