import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSharedJournal } from '@felhom/durable/shared-journal.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { actionJournal } from '../reconcile/action-journal.ts';
import { actionRecord } from '../reconcile/action-record.ts';
import { actionsPath, lastPassFile } from '../state-files.ts';
import { glanceAt } from './glance.ts';
import { reconcileAttention } from './reconcile-glance.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-glance-'));
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

const at = '2026-11-20T01:00:00.000Z';
const hour = 3_600_000;

describe('a glance at reconcile', () => {
  it('where there was none sees nothing', () => {
    expect(glanceAt(folder).reconcile).toEqual({ last: null, open: [] });
  });

  it('sees what those wrote who write by schemas: the last pass, and what nobody saw the end of', async () => {
    const guest = { vmid: 102, outcome: 'failed', reason: 'no', hint: 'look', since: at } as const;
    await lastPassFile(folder).write({
      pass_id: 'p',
      started_at: at,
      ended_at: at,
      outcome: 'failed',
      declared: 2,
      guests: [guest],
      locks: [],
    });
    const shared = await openSharedJournal({
      path: actionsPath(folder),
      schema: actionRecord,
      keep: (records) => records,
      onFatal: (failure) => {
        throw failure;
      },
    });
    const journal = actionJournal(shared, { nowMs: () => Date.parse(at), upMs: () => 1 });
    const who = { node_seconds: 1, node: 'pve1', guest_kind: 'lxc', by: 'reconcile', pid: 1 } as const;
    for (const vmid of [101, 102])
      await journal.begin({
        ...who,
        id: `a${vmid}`,
        key: `k${vmid}`,
        vmid,
        action: { kind: 'start' },
        boot_id: 'b',
        known: [],
      });
    await journal.ended('a101', 'done', null);
    await shared.close();
    const { reconcile, damaged } = glanceAt(folder);
    expect(damaged).toEqual([]);
    expect(reconcile).toEqual({
      last: { ended_at: at, outcome: 'failed', declared: 2, apart: [guest] },
      open: [{ id: 'a102', vmid: 102, at }],
    });
  });

  it('asks for a person where a guest failed, waits for long, or an action is without an end for long', () => {
    const deferred = { vmid: 101, outcome: 'deferred', reason: 'locked', hint: null, since: at };
    const last = { ended_at: at, outcome: 'incomplete', declared: 1, apart: [deferred] };
    const open = [{ id: 'x', vmid: 103, at }];
    expect(reconcileAttention({ last, open }, Date.parse(at) + 60_000)).toEqual([]);
    const later = reconcileAttention({ last, open }, Date.parse(at) + 2 * hour);
    expect(later.map(({ message }) => message)).toEqual([
      expect.stringContaining('guest 103'),
      expect.stringContaining('guest 101'),
    ]);
    const refused = { ...last, outcome: 'refused', apart: [] };
    expect(reconcileAttention({ last: refused, open: [] }, Date.parse(at))).toHaveLength(1);
  });
});
