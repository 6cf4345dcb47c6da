import { describe, expect, it } from 'vitest';
import type { Catalog } from './catalog.ts';
import type { KeptSource } from './manifest.ts';
import { verifySnapshot } from './verify.ts';

const source: KeptSource = {
  name: 'shop_data',
  kind: 'volume',
  path: '/data',
  services: ['db'],
  method: 'archive',
  stored: 'data/0.tar.zst',
  stored_bytes: 10,
  content_bytes: 100,
  seal: null,
  skipped: [],
};

/** What is said of a snapshot of this one source, in which everything is found as it was kept. */
async function notesOn(kept: KeptSource): Promise<{ hashed: boolean; notes: string[] }> {
  const manifest = { files: [], sources: [kept] } as unknown as Awaited<ReturnType<Catalog['find']>>['manifest'];
  const ports = {
    disk: {
      kindOf: async () => (kept.method === 'archive' ? 'file' : 'folder'),
      sizeOf: async () => kept.stored_bytes,
    },
    archiver: { members: async () => undefined, digest: async () => kept.seal?.sha256 },
  } as unknown as Parameters<typeof verifySnapshot>[0];
  const catalog = {
    find: async () => ({ id: 'one', manifest, isLastGood: true }),
    folderOf: () => '/snapshots/one',
  } as unknown as Catalog;
  return await verifySnapshot(ports, catalog, 'shop', 'one');
}

describe('a snapshot that was never hashed', () => {
  it('says of an archive that its own checksums are right', async () => {
    const { hashed, notes } = await notesOn(source);
    expect(hashed).toBe(false);
    expect(notes).toEqual([expect.stringContaining('the checksums inside it are right')]);
  });

  it('claims nothing of the contents of a tree, which has no checksums', async () => {
    const { hashed, notes } = await notesOn({ ...source, method: 'tree', stored: 'data/0' });
    expect(hashed).toBe(false);
    expect(notes).toEqual([expect.stringContaining('its contents could not be compared with anything')]);
  });
});

it('a hashed snapshot needs no note', async () => {
  const seal = { sha256: '0'.repeat(64), members: 0, outside_links: 0 };
  expect(await notesOn({ ...source, seal })).toMatchObject({ hashed: true, notes: [] });
});
