import { describe, expect, it } from 'vitest';
import type { LastGood } from './catalog.ts';
import type { ListedSnapshot } from './contract.ts';
import type { Manifest } from './manifest.ts';
import { pruneSnapshots } from './prune.ts';

const manifest: Manifest = {
  id: '1',
  stack: 'shop',
  created_at: '2026-11-20T01:00:00.000Z',
  reason: 'test',
  engine_id: 'engine',
  project: { working_dir: null, compose_files: [], env_files: [] },
  files: [],
  images: [],
  sources: [],
  left_out: [],
  shared: [],
};

/** Snapshots `5` to `1`, the newest first, as a catalog lists them. */
async function prune(keep: number, lastGood: LastGood, damaged: string[] = []): Promise<string[] | string> {
  const removed: string[] = [];
  const listed = ['5', '4', '3', '2', '1'].map((id): ListedSnapshot => {
    const isLastGood = lastGood.kind === 'known' && lastGood.id === id;
    if (damaged.includes(id)) return { kind: 'damaged', id, isLastGood, why: 'a flipped bit' };
    return { kind: 'readable', id, isLastGood, manifest };
  });
  const catalog = {
    lastGood: async () => lastGood,
    list: async () => listed,
    remove: async (_: string, id: string) => void removed.push(id),
  };
  const end = await pruneSnapshots(catalog, 'shop', keep).catch((error: Error) => error.message);
  if (typeof end === 'string') return end;
  expect(end.removed.toSorted()).toEqual(removed.toSorted());
  return end.kept;
}

describe('retention', () => {
  it('keeps the newest, as many as asked for', async () => {
    expect(await prune(2, { kind: 'known', id: '5' })).toEqual(['5', '4']);
    expect(await prune(9, { kind: 'known', id: '5' })).toEqual(['5', '4', '3', '2', '1']);
  });

  it.each([0, 1, 3])('never drops the last good one, however old (keep %i)', async (keep) => {
    expect(await prune(keep, { kind: 'known', id: '1' })).toContain('1');
  });

  it('counts a damaged one as none, and leaves it to a person', async () => {
    expect(await prune(2, { kind: 'known', id: '4' }, ['5'])).toEqual(['5', '4', '3']);
  });

  it('removes nothing while nobody can tell which is the last good one', async () => {
    expect(await prune(1, { kind: 'unreadable' })).toContain('no snapshot of shop was removed');
  });
});
