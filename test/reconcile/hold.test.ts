import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openPlanning, type Planning } from './planning.ts';

let host: Planning;
beforeEach(async () => {
  host = await openPlanning([{ vmid: 101, name: 'docker1' }]);
  await host.declare('101.yaml', { vmid: 101, desired: { state: 'stopped' } });
});
afterEach(() => host.close());

const standing = async (): Promise<unknown> => (await host.run('plan', '--json')).json['guests'];

describe('guest hold', () => {
  it('leaves a guest to a person until its release, also while no serve runs', async () => {
    const held = await host.run('guest', 'hold', '101', '--reason', 'database migration');
    expect(held.exit).toBe(0);
    expect(held.stdout).toContain('guest 101 is left to you: database migration');
    expect(await standing()).toMatchObject([
      { vmid: 101, standing: 'held', reason: 'database migration', actions: [] },
    ]);
    expect((await host.run('guest', 'release', '101')).stdout).toBe('guest 101 is released\n');
    expect(await standing()).toMatchObject([{ vmid: 101, standing: 'drift', actions: [{ kind: 'shutdown' }] }]);
  });

  it('is said to be of no use for a guest without a file, and a release of one that its file holds', async () => {
    expect((await host.run('guest', 'hold', '999')).stderr).toContain('guest 999 has no file in /F/guests.d');
    await host.declare('101.yaml', { vmid: 101, held: 'by its file', desired: { state: 'stopped' } });
    const released = await host.run('guest', 'release', '101', '--json');
    expect(released.json).toMatchObject({ schema: 'felhom.hold/1', vmid: 101, held: true, reason: 'by its file' });
    expect(await standing()).toMatchObject([{ standing: 'held', reason: 'by its file' }]);
  });

  it('that cannot be read keeps everything from being planned: who is held is not known', async () => {
    await host.run('guest', 'hold', '101');
    const file = join(host.folder, 'state', 'guests.json');
    await writeFile(file, (await readFile(file, 'utf8')).slice(0, 40));
    expect(await host.run('plan')).toMatchObject({ exit: 3, stdout: '' });
  });
});
