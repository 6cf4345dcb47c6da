import { expect, it } from 'vitest';
import type { OtherDebts } from './other-debts.ts';
import { isStackOwed } from './stack-owed.ts';

const noMarker = { read: async () => ({ kind: 'absent' }) as const };
const owing = (stack: string | null): OtherDebts => ({
  owed: async () => ({ stack, deadlineMs: 0, engineId: null }),
  settle: async () => ({ started: [], owed: [], failure: null }),
  forgive: async () => false,
  sweep: async () => undefined,
});

it('counts a restore of the stack that was cut off, and one of which nobody can read whose it is', async () => {
  const asked = async (otherDebts: OtherDebts[]): Promise<boolean> =>
    await isStackOwed({ markers: noMarker, otherDebts }, 'shop');
  expect(await asked([])).toBe(false);
  expect(await asked([owing('wiki')])).toBe(false);
  expect(await asked([owing('shop')])).toBe(true);
  expect(await asked([owing(null)])).toBe(true);
});

it('counts a command that is to be run in the stack, with all of its containers back', async () => {
  const value = {
    run_id: 'run',
    job_id: null,
    boot_id: 'boot',
    engine_id: 'engine',
    written_at_ms: 0,
    deadline_at_ms: 0,
    debts: [],
    after_start: [{ stack: 'shop', service: 'app', command: 'true' }],
  };
  const markers = { read: async () => ({ kind: 'present', value }) as const };
  expect(await isStackOwed({ markers, otherDebts: [] }, 'shop')).toBe(true);
  expect(await isStackOwed({ markers, otherDebts: [] }, 'wiki')).toBe(false);
});
