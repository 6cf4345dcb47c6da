/**
 * How long to wait between two polls: short while something is about to happen, then longer in a
 * geometric ramp, so that what is noticed late is late by a small part of what it took.
 */
export interface PaceOptions {
  /** Between polls at first. Default 40 ms. */
  fastMs?: number | undefined;
  /** How long it stays fast after the start, and after each `quicken`. Default 1500 ms. */
  fastForMs?: number | undefined;
  /** What it grows to. Default 1000 ms. */
  slowMs?: number | undefined;
  /** Growth of each wait after the fast time. Default 1.25. */
  growth?: number | undefined;
}

export interface Pace {
  /** Milliseconds to wait now, given the monotonic time. */
  waitMs(nowMs: number): number;
  /** Fast again from `nowMs` on: a new line came, or the caller knows that something is about to happen. */
  quicken(nowMs: number): void;
}

export function createPace(
  startMs: number,
  { fastMs = 40, fastForMs = 1_500, slowMs = 1_000, growth = 1.25 }: PaceOptions = {},
): Pace {
  let fastUntilMs = startMs + fastForMs;
  let current = fastMs;
  return {
    waitMs: (nowMs) => {
      if (nowMs >= fastUntilMs) current = Math.min(slowMs, current * growth);
      return current;
    },
    quicken: (nowMs) => {
      fastUntilMs = nowMs + fastForMs;
      current = fastMs;
    },
  };
}
