import { describe, expect, it } from 'vitest';
import { gateDeadlineMs, gateEnd, isCalling, openGate, pollGate } from './gate.ts';

const bounds = { claim: 15_000, lease: 15_000, hold_max: 120_000, watcher: 90_000 };

describe('an open gate', () => {
  it('closes when nobody claims it in time', () => {
    const gate = openGate(1_000);
    expect(gateEnd(gate, bounds, 15_999)).toBeNull();
    expect(gateEnd(gate, bounds, 16_000)).toBe('gate_unclaimed');
  });

  it('is held by polls, each for one lease', () => {
    let gate = openGate(0);
    for (const at of [14_000, 28_000, 42_000]) gate = pollGate(gate, bounds, at);
    expect(gateEnd(gate, bounds, 56_999)).toBeNull();
    expect(gateEnd(gate, bounds, 57_000)).toBe('gate_lapsed');
  });

  it('is never held past hold_max, however often it is polled', () => {
    let gate = openGate(0);
    for (let at = 0; at < 120_000; at += 1_000) gate = pollGate(gate, bounds, at);
    expect(gateEnd(gate, bounds, 119_999)).toBeNull();
    expect(gateEnd(gate, bounds, 120_000)).toBe('gate_hold_max');
  });

  it('is not opened again by a poll that comes too late', () => {
    const gate = pollGate(openGate(0), bounds, 15_000);
    expect(gate.claimedMs).toBeNull();
    expect(gateEnd(gate, bounds, 15_001)).toBe('gate_unclaimed');
  });

  it('tells when it would close', () => {
    expect(gateDeadlineMs(openGate(0), bounds)).toBe(15_000);
    expect(gateDeadlineMs(pollGate(openGate(0), bounds, 10_000), bounds)).toBe(25_000);
    const late = { openedMs: 0, claimedMs: 1, lastPollMs: 110_000 };
    expect(gateDeadlineMs(late, bounds)).toBe(120_000);
  });
});

describe('a watcher', () => {
  it('is calling for 90 s after its last request', () => {
    expect(isCalling(null, bounds, 0)).toBe(false);
    expect(isCalling(0, bounds, 89_999)).toBe(true);
    expect(isCalling(0, bounds, 90_000)).toBe(false);
  });
});
