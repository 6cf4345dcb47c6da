import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSharedJournal } from '@felhom/durable/shared-journal.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ActionJournal, actionJournal, type NewIntent } from './action-journal.ts';
import { actionRecord, type Intent, keepActions } from './action-record.ts';

let folder: string;
const closers: (() => Promise<void>)[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-actions-'));
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  await rm(folder, { recursive: true, force: true });
});

const open = async (keepEnded = 100): Promise<ActionJournal & { compact: () => Promise<void> }> => {
  const shared = await openSharedJournal({
    path: join(folder, 'actions.jsonl'),
    schema: actionRecord,
    keep: (records) => keepActions(records, keepEnded),
    onFatal: (failure) => {
      throw failure;
    },
  });
  closers.push(() => shared.close());
  return { ...actionJournal(shared, { nowMs: () => 0, upMs: () => 7 }), compact: () => shared.compact() };
};
const intent = (id: string, more: Partial<Intent> = {}): NewIntent => ({
  id,
  key: `key-${id}`,
  node_seconds: 1,
  node: 'pve1',
  vmid: 101,
  guest_kind: 'lxc',
  action: { kind: 'start' },
  by: 'reconcile',
  pid: 1,
  boot_id: 'boot',
  known: [],
  ...more,
});

describe('the journal of actions', () => {
  it('tells an action from its intent to its end', async () => {
    const journal = await open();
    expect(await journal.begin(intent('a'))).toEqual({ kind: 'begun', bootMs: 7 });
    await journal.started('a', 'UPID:x');
    expect(await journal.entries()).toMatchObject([{ intent: { id: 'a' }, upid: 'UPID:x', end: null }]);
    await journal.ended('a', 'done', null);
    expect(await journal.entries()).toMatchObject([{ end: { outcome: 'done' } }]);
  });

  it('begins nothing for a guest that has an open entry, and anything for another', async () => {
    const [one, other] = [await open(), await open()];
    const begun = await Promise.all([one.begin(intent('a')), other.begin(intent('b'))]);
    expect(begun.map(({ kind }) => kind).toSorted()).toEqual(['begun', 'open']);
    expect(await other.begin(intent('c', { vmid: 102 }))).toEqual({ kind: 'begun', bootMs: 7 });
  });

  it('begins what has the same key once, also after it ended', async () => {
    const journal = await open();
    await journal.begin(intent('a', { key: 'nonce' }));
    await journal.ended('a', 'failed', 'no');
    expect(await journal.begin(intent('b', { key: 'nonce' }))).toMatchObject({
      kind: 'repeated',
      entry: { intent: { id: 'a' } },
    });
  });

  it('keeps the first end', async () => {
    const journal = await open();
    await journal.begin(intent('a'));
    await journal.ended('a', 'done', null);
    await journal.ended('a', 'failed', 'late');
    expect(await journal.entries()).toMatchObject([{ end: { outcome: 'done' } }]);
  });

  it('forgets by compaction the oldest that ended, and nothing that is open', async () => {
    const journal = await open(1);
    for (const id of ['a', 'b', 'c']) {
      await journal.begin(intent(id, { vmid: id === 'a' ? 101 : 102 }));
      if (id !== 'a') await journal.ended(id, 'done', null);
    }
    await journal.compact();
    expect((await journal.entries()).map((entry) => entry.intent.id)).toEqual(['a', 'c']);
  });
});
