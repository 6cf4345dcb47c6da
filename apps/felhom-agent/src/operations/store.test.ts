import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { acquireRunLock } from '@felhom/durable/run-lock.ts';
import { systemClock } from '@felhom/kernel/clock.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { operationsFile, operationsPath } from '../state-files.ts';
import { fileOperationStore } from './store.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-operations-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

let ids = 0;
const open = () => {
  const newAgentId = (): string => {
    ids += 1;
    return String(ids).padStart(32, '0');
  };
  return fileOperationStore({
    file: operationsFile(folder),
    path: operationsPath(folder),
    clock: systemClock,
    newAgentId,
  });
};
const raised = (by: number) => async (store: ReturnType<typeof open>) =>
  await store.change((file) => ({ file: { ...file, high_water_ms: file.high_water_ms + by }, answer: null }));

describe('the record of operations', () => {
  it("makes the agent's id once, and keeps it with what it remembers", async () => {
    const first = await open().read();
    expect(await open().read()).toEqual(first);
    await raised(5)(open());
    expect(await open().read()).toEqual({ ...first, high_water_ms: 5 });
    expect((await stat(operationsPath(folder))).mode & 0o777).toBe(0o600);
  });

  it('is another agent once it was removed: what was signed for the old one is void', async () => {
    const { agent_id: before } = await open().read();
    await rm(operationsPath(folder));
    expect((await open().read()).agent_id).not.toBe(before);
  });

  it('loses no change of several that change it at once', async () => {
    await Promise.all(Array.from({ length: 6 }, async () => await raised(1)(open())));
    expect((await open().read()).high_water_ms).toBe(6);
  });

  it('stays as it was when a change throws, and lets the next one in', async () => {
    await raised(1)(open());
    const broken = open().change(() => {
      throw new Error('no');
    });
    await expect(broken).rejects.toThrow('no');
    await raised(1)(open());
    expect((await open().read()).high_water_ms).toBe(2);
  });

  it.each([
    ['truncated', '{"version":1,', 'state_unreadable'],
    ['of a newer version', '{"version":2,"sequence":0,"value":{}}', 'state_newer'],
    ['of another shape', '{"version":1,"sequence":0,"value":{"agent_id":"x"}}', 'state_unreadable'],
  ])('that is %s takes no operation: it might be a replay', async (_, text, code) => {
    await writeFile(operationsPath(folder), text);
    await expect(open().read()).rejects.toMatchObject({ code, message: expect.stringContaining('replay') });
    await expect(raised(1)(open())).rejects.toMatchObject({ code });
  });

  it('waits for whoever changes it, and says who it is when that takes too long', async () => {
    await open().read();
    const held = await acquireRunLock(`${operationsPath(folder)}.lock`, { pid: 1, startTime: '', purpose: 'x' });
    const impatient = { ...systemClock, monotonicMs: () => performance.now() * 1000 };
    const store = fileOperationStore({
      file: operationsFile(folder),
      path: operationsPath(folder),
      clock: impatient,
      newAgentId: () => '',
    });
    await expect(raised(1)(store)).rejects.toMatchObject({
      code: 'busy',
      message: expect.stringContaining('process 1'),
    });
    if (held.kind === 'held-by-us') await held.lock.release();
    await raised(1)(store);
  });
});
