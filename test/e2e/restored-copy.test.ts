import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { backUp, runningContainers, startTimes } from '../lab/backup.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import { bootCopy, type RestoredCopy } from '../lab/restored-copy.ts';
import { plainService } from '../lab/stacks.ts';
import { debtFiles } from '../lab/steps.ts';

/*
 * A guest restored from a backup comes up with its apps stopped and the marker of its own quiesce on its disk. What is
 * started here is the archive itself: its engine with its containers, its configuration, its state.
 */

const apps = ['shop-app-1'];
let lab: Lab;
let copy: RestoredCopy;
let original: Record<string, string>;

beforeAll(async () => {
  lab = await openLab({ images: 'inside' });
  await lab.addStack('shop', plainService('app').replace('unless-stopped', '"no"'));
  const { result } = await backUp(lab);
  if (result.grade !== 'app-consistent') throw new Error(`no backup to restore: ${JSON.stringify(result.error)}`);
  original = await startTimes(lab);
  copy = await bootCopy(lab, await lab.unpack());
});
afterAll(async () => {
  await copy.destroy();
  await lab.close();
});

describe('a guest restored beside the original', () => {
  it('comes up with its apps down and the marker of its own quiesce', async () => {
    expect(await copy.docker('ps', '--format', '{{.Names}}')).toBe('');
    expect(await copy.docker('ps', '--all', '--format', '{{.Names}} {{.State}}')).toBe('shop-app-1 exited\n');
    expect(await readdir(join(copy.root, 'var/lib/felhom/debts'))).not.toEqual([]);
  });

  it('has its apps back by what runs at its boot, and owes nothing', async () => {
    const end = await copy.controller('recover', '--json');
    expect(end, end.stderr).toMatchObject({ code: 0 });
    expect(await copy.docker('ps', '--format', '{{.Names}}')).toBe('shop-app-1\n');
    expect(await readdir(join(copy.root, 'var/lib/felhom/debts'))).toEqual([]);
  });

  it('is told apart from the original: it starts no backup, and stops nothing', async () => {
    const end = await copy.controller('backup', 'now', '--json');
    expect(end.code).toBe(13);
    expect(end.stdout + end.stderr).toContain('restored_copy');
    expect(await copy.docker('ps', '--format', '{{.Names}}')).toBe('shop-app-1\n');
  });

  it('has left the original alone, which goes on as before', async () => {
    expect(await startTimes(lab)).toEqual(original);
    expect(await debtFiles(lab)).toEqual([]);
    expect((await backUp(lab)).result).toMatchObject({ outcome: 'done', grade: 'app-consistent', error: null });
    expect(await runningContainers(lab)).toEqual(apps);
  });
});
