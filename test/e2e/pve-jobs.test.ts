import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runningContainers, startTimes } from '../lab/backup.ts';
import { containerIdentity } from '../lab/identity.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import { lookIntoDatabase } from '../lab/postgres.ts';
import type { Background } from '../lab/process.ts';
import { vzdumpByPve } from '../lab/simulator.ts';
import { postgresUnderWrites, writeRows } from '../lab/stacks.ts';
import { debtFiles, waitUntilNoJob } from '../lab/steps.ts';
import { waitUntil } from '../lab/wait-until.ts';

/*
 * Jobs that PVE starts by itself: its schedule, a person in the interface. The hook makes them app-consistent where the
 * guest's controller watches, and leaves them as they would have been where it does not.
 */

const apps = ['shop-db-1', 'shop-writer-1'];

describe.each([
  ['snapshot', 'storage with snapshots', undefined],
  ['suspend', 'storage without snapshots', 'snapshots=no'],
] as const)("a job of PVE's own in %s mode, on %s", (mode, _storage, guest) => {
  let lab: Lab;
  let watch: Background;

  beforeAll(async () => {
    lab = await openLab({
      ...(guest === undefined ? {} : { guest }),
      // Nothing is due by itself: what is captured here, PVE wanted.
      agent: { defaults: { backup: { storage: 'bk', schedule: 'pve' } } },
    });
    await lab.addStack('shop', postgresUnderWrites(containerIdentity()), {
      'writer/write-rows': writeRows,
      'pgdata/': '',
    });
  });
  afterAll(async () => await lab.close());

  it('is captured with the apps down, when the controller watches', async () => {
    watch = lab.startInGuest('watch', ['backup', 'watch']);
    await waitUntil('the watch has called', async () => await isCalling(lab));
    const before = await startTimes(lab);
    expect(
      await vzdumpByPve(lab.simulator, { vmid: String(lab.vmid), storage: 'bk', mode: 'snapshot', compress: 'zstd' }),
    ).toBe('OK');
    await waitUntilNoJob(lab);

    const root = await lab.unpack({ paths: ['./srv/shop'] });
    const found = await lookIntoDatabase(lab.engine, join(root, 'srv/shop/pgdata'));
    const acknowledged = (await readFile(join(root, 'srv/shop/writer/acknowledged'), 'utf8')).trim().split('\n').at(-1);
    expect(found.state).toBe('shut down');
    expect(found.last).toBeGreaterThanOrEqual(Number(acknowledged));

    await waitUntil('nothing is owed', async () => (await debtFiles(lab)).length === 0);
    const after = await startTimes(lab);
    expect(Object.keys(after)).toEqual(apps);
    expect(apps.filter((name) => after[name] === before[name])).toEqual([]);
    await waitUntil('the backup carries its grade', async () =>
      (await lab.onHost('backup', 'list', '--json')).stdout.includes('"app-consistent"'),
    );
    expect((await lab.onHost('backup', 'list', '--json')).stdout).toContain('"app-consistent"');
    expect((await lab.inGuest(['backup', 'show', '--json'])).stdout).toContain(`"mode":"${mode}"`);
  });

  it('goes on without the apps, and stops none, when no controller watches', async () => {
    await watch.stop();
    await lab.agent().stop();
    const before = await startTimes(lab);
    expect(
      await vzdumpByPve(lab.simulator, { vmid: String(lab.vmid), storage: 'bk', mode: 'snapshot', compress: 'zstd' }),
    ).toBe('OK');
    expect(await startTimes(lab)).toEqual(before);
    expect(await runningContainers(lab)).toEqual(apps);
    const root = await lab.unpack({ paths: ['./srv/shop/pgdata'] });
    expect((await lookIntoDatabase(lab.engine, join(root, 'srv/shop/pgdata'))).state).toBe('in production');
  });
});

/** Whether the agent counts the guest's watch as calling. */
async function isCalling(lab: Lab): Promise<boolean> {
  return (await lab.onHost('guest', 'show', String(lab.vmid), '--json')).stdout.includes('"calling":true');
}
