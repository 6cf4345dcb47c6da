import { describe, expect, it } from 'vitest';
import { nearestKey } from './nearest-key.ts';
import { formatDuration, parseDuration, parseSize } from './quantity.ts';

describe('a duration', () => {
  it('reads back as it was written', () => {
    const units = [1, 1_000, 60_000, 3_600_000, 86_400_000];
    for (const unit of units) {
      for (const other of units) {
        for (const count of [0, 1, 23, 59, 999]) {
          expect(parseDuration(formatDuration(count * unit + other))).toBe(count * unit + other);
        }
      }
    }
  });

  it('is never read from text that has no unit', () => {
    for (const text of ['1', '60', '999999999', '1.5'])
      expect([parseDuration(text), parseSize(text)]).toEqual([undefined, undefined]);
  });
});

describe('the nearest key', () => {
  const known = ['agents', 'bounds', 'grade', 'history', 'run_dir', 'stacks', 'state_dir', 'token_file'];

  it('is the key itself, in any case of its letters', () => {
    for (const key of known) {
      expect(nearestKey(key, known)).toBe(key);
      expect(nearestKey(key.toUpperCase(), known)).toBe(key);
    }
  });

  it('is found through one slip: a letter too many, missing, wrong, or two swapped', () => {
    for (const key of known) {
      for (let at = 0; at < key.length - 1; at += 1) {
        for (const slip of slipsAt(key, at)) expect([slip, nearestKey(slip, known)]).toEqual([slip, key]);
      }
    }
  });

  it('is none for another word', () => {
    expect(nearestKey('password', known)).toBeUndefined();
    expect(nearestKey('x', known)).toBeUndefined();
    expect(nearestKey('', known)).toBeUndefined();
  });
});

function slipsAt(key: string, at: number): string[] {
  const [before, after] = [key.slice(0, at), key.slice(at + 2)];
  const swapped = key.charAt(at + 1) + key.charAt(at);
  return [
    before + key.slice(at + 1),
    `${before}z${key.slice(at)}`,
    `${before}z${key.slice(at + 1)}`,
    before + swapped + after,
  ];
}
