import { describe, expect, test } from 'vitest';
import { systemClock } from './clock.ts';

describe('the system clock', () => {
  test('tells wall time and a monotonic time that goes on', async () => {
    expect(Math.abs(systemClock.nowMs() - Date.now())).toBeLessThan(1000);
    const before = systemClock.monotonicMs();
    await systemClock.sleep(10);
    expect(systemClock.monotonicMs() - before).toBeGreaterThanOrEqual(9);
  });

  test('sleeps not at all for a time that has passed', async () => {
    await expect(systemClock.sleep(-5)).resolves.toBeUndefined();
  });

  test('wakes early and without throwing when its signal aborts', async () => {
    const stop = new AbortController();
    const sleeping = systemClock.sleep(60_000, stop.signal);
    stop.abort();
    await expect(sleeping).resolves.toBeUndefined();
    await expect(systemClock.sleep(60_000, stop.signal)).resolves.toBeUndefined();
  });
});
