import type { Bounds } from '../bounds.ts';

/**
 * The rules of an open gate, pure. Times are monotonic milliseconds.
 *
 * A gate is claimed by the first status poll within `claim` of opening; every poll renews its lease;
 * it never stays open past `hold_max`. A closed gate never opens again.
 */
export interface GateState {
  openedMs: number;
  claimedMs: number | null;
  /** The last poll of the one that claimed it. */
  lastPollMs: number | null;
}

export type GateBounds = Pick<Bounds, 'claim' | 'lease' | 'hold_max'>;
export type GateEnd = 'gate_unclaimed' | 'gate_lapsed' | 'gate_hold_max';

export function openGate(nowMs: number): GateState {
  return { openedMs: nowMs, claimedMs: null, lastPollMs: null };
}

/** Why the gate is closed at `nowMs`, or null while it is open. */
export function gateEnd(gate: GateState, bounds: GateBounds, nowMs: number): GateEnd | null {
  if (nowMs >= gate.openedMs + bounds.hold_max) return 'gate_hold_max';
  if (gate.claimedMs === null) return nowMs >= gate.openedMs + bounds.claim ? 'gate_unclaimed' : null;
  return nowMs >= (gate.lastPollMs ?? gate.claimedMs) + bounds.lease ? 'gate_lapsed' : null;
}

/** The gate after a status poll at `nowMs`: claimed, or its lease renewed. A poll that comes too late changes nothing. */
export function pollGate(gate: GateState, bounds: GateBounds, nowMs: number): GateState {
  if (gateEnd(gate, bounds, nowMs) !== null) return gate;
  return { ...gate, claimedMs: gate.claimedMs ?? nowMs, lastPollMs: nowMs };
}

/** When the gate closes if nobody polls any more. */
export function gateDeadlineMs(gate: GateState, bounds: GateBounds): number {
  const quiet =
    gate.claimedMs === null ? gate.openedMs + bounds.claim : (gate.lastPollMs ?? gate.claimedMs) + bounds.lease;
  return Math.min(quiet, gate.openedMs + bounds.hold_max);
}

/** Whether a watcher is there to be asked. */
export function isCalling(lastRequestMs: number | null, bounds: Pick<Bounds, 'watcher'>, nowMs: number): boolean {
  return lastRequestMs !== null && nowMs - lastRequestMs < bounds.watcher;
}
