import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { changeHint, type VersionList } from './change-hint.ts';

const fullReadMs = 600_000;
const declared = '{"cores":"2"}';

/** A node whose list is what a test says, and whose guest 101 is looked at as a pass looks at it. */
function world() {
  const state = { nowMs: 0, list: listOf({ 101: 7 }) as VersionList | null };
  const hint = changeHint({
    node: 'pve1',
    readList: async () => state.list,
    clock: { monotonicMs: () => state.nowMs },
    fullReadMs,
  });
  /** One pass; tells whether the configuration was read. */
  const pass = async (end: 'settled' | 'unsettled' = 'settled', fields = declared): Promise<'read' | 'skipped'> => {
    const { unchanged, conclude } = await hint.begin();
    const skipped = unchanged(101, fields);
    conclude(101, fields, skipped ? 'skipped' : end);
    return skipped ? 'skipped' : 'read';
  };
  return { state, hint, pass };
}

function listOf(versions: Record<number, number>, generation = 'start-1', node = 'pve1'): VersionList {
  return {
    generation,
    guests: new Map(Object.entries(versions).map(([vmid, version]) => [Number(vmid), { node, version }])),
  };
}

describe('a configuration', () => {
  it('is read in the first pass, and not again while the list says nothing new', async () => {
    const { pass } = world();
    expect([await pass(), await pass(), await pass()]).toEqual(['read', 'skipped', 'skipped']);
  });

  it('is read again once its version moved, in either direction', async () => {
    const { state, pass } = world();
    await pass();
    state.list = listOf({ 101: 8 });
    expect([await pass(), await pass()]).toEqual(['read', 'skipped']);
    state.list = listOf({ 101: 3 });
    expect([await pass(), await pass()]).toEqual(['read', 'skipped']);
  });

  it('is read again after anything but a pass that found it in sync', async () => {
    const { pass } = world();
    await pass('unsettled');
    expect(await pass('settled')).toBe('read');
    expect(await pass()).toBe('skipped');
  });

  it('is read again when something else is declared of it', async () => {
    const { pass } = world();
    await pass();
    expect(await pass('settled', '{"cores":"4"}')).toBe('read');
    expect(await pass()).toBe('read');
  });

  it('is read again after the cluster filesystem began anew, though its counters came to the same number', async () => {
    const { state, pass } = world();
    await pass();
    state.list = listOf({ 101: 7 }, 'start-2');
    expect([await pass(), await pass()]).toEqual(['read', 'skipped']);
  });

  it('is read when there is no list, and whatever was read meanwhile is not taken for listed', async () => {
    const { state, pass } = world();
    await pass();
    const before = state.list;
    state.list = null;
    expect([await pass(), await pass()]).toEqual(['read', 'read']);
    state.list = before;
    expect([await pass(), await pass()]).toEqual(['read', 'skipped']);
  });

  it('of a guest that the list has on another node, or not at all, is read', async () => {
    const { state, pass } = world();
    await pass();
    state.list = listOf({ 101: 7 }, 'start-1', 'pve2');
    expect([await pass(), await pass()]).toEqual(['read', 'read']);
    state.list = listOf({});
    expect(await pass()).toBe('read');
  });

  it('that changes between the list and the read is read again: the older version stands beside it', async () => {
    const { state, hint, pass } = world();
    const { conclude } = await hint.begin();
    state.list = listOf({ 101: 8 });
    conclude(101, declared, 'settled');
    expect(await pass()).toBe('read');
  });

  it('of a pass that died before its plan is read by the next one', async () => {
    const { hint, pass } = world();
    await hint.begin();
    expect(await pass()).toBe('read');
  });
});

describe('a list that lies', () => {
  it('hides drift for as long as a full read is away, and no longer, whatever it says and when', async () => {
    const quiet = { version: 1, start: 'a' };
    const loud = fc.record({ version: fc.integer({ min: 1, max: 3 }), start: fc.constantFrom('a', 'b') });
    const list: fc.Arbitrary<{ version: number; start: string } | null> = fc
      .integer({ min: 0, max: 20 })
      .chain((n) => (n === 0 ? loud : fc.constant(n === 1 ? null : quiet)));
    const step = fc.record({
      waitMs: fc.integer({ min: 0, max: 400_000 }),
      list,
      inSync: fc.integer({ min: 0, max: 9 }).map((n) => n > 0),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const { state, pass } = world();
        let readAtMs = Number.NEGATIVE_INFINITY;
        for (const { waitMs, list, inSync } of steps) {
          state.nowMs += waitMs;
          state.list = list === null ? null : listOf({ 101: list.version }, list.start);
          if ((await pass(inSync ? 'settled' : 'unsettled')) === 'read') readAtMs = state.nowMs;
          expect(state.nowMs - readAtMs).toBeLessThan(fullReadMs);
        }
      }),
    );
  });

  it('by never moving is found out when the time of a full read has come', async () => {
    const { state, pass } = world();
    await pass();
    state.nowMs = fullReadMs - 1;
    expect(await pass()).toBe('skipped');
    state.nowMs = fullReadMs;
    expect([await pass(), await pass()]).toEqual(['read', 'skipped']);
  });
});
