import { describe, expect, it } from 'vitest';
import { judgeCompanion, settleCompanions, type UnitState, type UnitsPort } from './companions.ts';

const seen: UnitState = { load: 'loaded', active: 'active', type: '' };
const missing: UnitState = { load: 'not-found', active: 'inactive', type: '' };

/** Units in memory, by name; what is written becomes known, and inactive. */
function memoryUnits(states: Record<string, UnitState | null>, { fails = '' } = {}) {
  const calls: string[] = [];
  const units: UnitsPort = {
    look: async (unit) => states[unit] ?? null,
    read: async (file) => {
      if (file === '/nowhere') throw new Error('no such file');
      return '[Unit]\n';
    },
    write: async (unit) => {
      calls.push(`write ${unit}`);
      states[unit] = { load: 'loaded', active: 'inactive', type: unit.endsWith('.service') ? 'oneshot' : '' };
    },
    start: async (unit) => {
      calls.push(`start ${unit}`);
      if (fails !== '') throw new Error(fails);
    },
  };
  return { units, calls };
}
const timer = { unit: 'cron.timer', file: '/srv/shop/cron.timer' };
const service = { unit: 'cron.service', file: '/srv/shop/cron.service' };

describe('a companion unit', () => {
  it.each([
    ['active', seen, 'fine'],
    ['starting', { ...seen, active: 'activating' }, 'fine'],
    ['inactive', { ...seen, active: 'inactive' }, 'start'],
    ['failed', { ...seen, active: 'failed' }, 'start'],
    ['missing', missing, 'missing'],
    ['masked', { ...seen, load: 'masked', active: 'inactive' }, 'masked'],
    ['a task of a timer', { ...seen, active: 'inactive', type: 'oneshot' }, 'fine'],
  ] as const)('that is %s', (_, state, verdict) => {
    expect(judgeCompanion(state)).toBe(verdict);
  });

  it('is written where it is missing, all of them before any is started', async () => {
    const { units, calls } = memoryUnits({ 'cron.timer': missing, 'cron.service': missing });
    expect(await settleCompanions(units, [timer, service])).toEqual([
      { unit: 'cron.timer', outcome: 'written', why: null },
      { unit: 'cron.service', outcome: 'written', why: null },
    ]);
    expect(calls).toEqual(['write cron.timer', 'write cron.service', 'start cron.timer']);
  });

  it('is started, and not written, where it is inactive', async () => {
    const { units, calls } = memoryUnits({ 'cron.timer': { ...seen, active: 'inactive' } });
    expect(await settleCompanions(units, [timer])).toMatchObject([{ outcome: 'started' }]);
    expect(calls).toEqual(['start cron.timer']);
  });

  it.each([
    ['masked', { ...seen, load: 'masked', active: 'inactive' }, 'masked'],
    ['in a guest without systemd', null, 'no_systemd'],
  ] as const)('%s is left as it is', async (_, state, outcome) => {
    const { units, calls } = memoryUnits({ 'cron.timer': state });
    expect(await settleCompanions(units, [timer])).toMatchObject([{ outcome }]);
    expect(calls).toEqual([]);
  });

  it('that fails is told with its reason, and keeps no other back', async () => {
    const { units, calls } = memoryUnits({ 'cron.timer': missing, 'cron.service': missing });
    const ends = await settleCompanions(units, [{ ...timer, file: '/nowhere' }, service]);
    expect(ends).toMatchObject([{ outcome: 'failed', why: 'no such file' }, { outcome: 'written' }]);
    expect(calls).toEqual(['write cron.service']);
  });

  it('that does not start is told, and throws nothing', async () => {
    const { units } = memoryUnits({ 'cron.timer': { ...seen, active: 'failed' } }, { fails: 'Unit is broken' });
    expect(await settleCompanions(units, [timer])).toEqual([
      { unit: 'cron.timer', outcome: 'failed', why: 'Unit is broken' },
    ]);
  });
});
