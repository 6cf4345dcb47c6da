import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Backup } from './backups.ts';
import { describeRetention, markForPrune, parseRetention } from './retention.ts';

const day = 86_400;

function backup(ctime: number, isProtected = false): Backup {
  const storage = { id: 'bk', dir: '/nowhere' };
  const volid = `bk:backup/${ctime}${isProtected ? 'p' : ''}`;
  return {
    storage,
    volid,
    type: 'lxc',
    vmid: 101,
    ctime,
    format: 'tar',
    path: '',
    size: 1,
    notes: '',
    protected: isProtected,
  };
}

const keptOf = (backups: Backup[], retention: Record<string, number>): number[] =>
  markForPrune(backups, retention).flatMap(({ backup: one, mark }) => (mark === 'keep' ? [one.ctime] : []));

describe('retention', () => {
  it('keeps the newest, counts no protected one and removes none', () => {
    const marks = markForPrune([backup(1), backup(2, true), backup(3), backup(4)], { 'keep-last': 2 });
    expect(marks.map(({ mark }) => mark)).toEqual(['remove', 'protected', 'keep', 'keep']);
  });

  it('keeps one of each day beyond the last', () => {
    const times = [0, 1, day, day + 1, 2 * day, 2 * day + 1].map((time) => time + 12 * 3600);
    const kept = keptOf(
      times.map((time) => backup(time)),
      { 'keep-last': 1, 'keep-daily': 2 },
    );
    expect(kept).toEqual([1, day + 1, 2 * day + 1].map((time) => time + 12 * 3600));
  });

  it('never removes more than was asked, and everything is kept by keep-all', () => {
    const times = fc.uniqueArray(fc.integer({ min: 0, max: 100 * day }), { maxLength: 20 });
    fc.assert(
      fc.property(times, fc.integer({ min: 1, max: 9 }), (list, count) => {
        const backups = list.map((time) => backup(time));
        expect(keptOf(backups, { 'keep-last': count })).toHaveLength(Math.min(count, list.length));
        expect(keptOf(backups, { 'keep-all': 1 })).toHaveLength(list.length);
      }),
    );
  });

  it('is read and told as PVE does', () => {
    const parsed = parseRetention('keep-last=3,keep-daily=7');
    expect(parsed).toEqual({ kind: 'retention', retention: { 'keep-last': 3, 'keep-daily': 7 } });
    expect(describeRetention({ 'keep-last': 3, 'keep-daily': 7 })).toBe('keep-daily=7, keep-last=3');
    expect(parseRetention('keep-nothing=1')).toMatchObject({ kind: 'error' });
  });
});
