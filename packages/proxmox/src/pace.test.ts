import { expect, it } from 'vitest';
import { createPace } from './pace.ts';

it('is fast first, then ever slower up to its bound, and fast again when something comes', () => {
  const pace = createPace(1_000);
  expect([1_000, 1_500, 2_499].map((nowMs) => pace.waitMs(nowMs))).toEqual([40, 40, 40]);
  let waited = 40;
  for (let nowMs = 2_500; waited < 1_000; nowMs += waited) {
    const next = pace.waitMs(nowMs);
    expect(next).toBeGreaterThan(waited);
    // What is noticed late is late by less than a third of what it took.
    expect(next).toBeLessThan(Math.max(41, (nowMs - 1_000) / 3));
    waited = next;
  }
  expect(pace.waitMs(60_000)).toBe(1_000);
  pace.quicken(60_000);
  expect(pace.waitMs(60_001)).toBe(40);
});
