import type { Clock } from '@felhom/kernel/clock.ts';
import { type GateBounds, type GateEnd, type GateState, gateDeadlineMs, gateEnd, openGate, pollGate } from './gate.ts';
import { createNotifier, type Notifier } from './notifier.ts';

/** What the hook that waits in `pre-stop` is told. */
export type HookVerdict = { kind: 'go' } | { kind: 'fail'; reason: string };

/**
 * The gates that are open in this process. A gate's id is its job's id, so that a hook that comes
 * back after a restart of the agent finds its gate again.
 */
export interface Gates {
  /** Opens the gate of a job that has become `ready`; opening an open gate changes nothing. */
  open(jobId: string): void;
  /** A status poll of the guest: claims the gate, or renews its lease. True when it is (still) open. */
  poll(jobId: string): boolean;
  isClaimed(jobId: string): boolean;
  /** Shuts the gate and answers the hook that waits at it. The first verdict counts. */
  decide(jobId: string, verdict: HookVerdict): void;
  verdict(jobId: string): HookVerdict | undefined;
  /** The verdict, or undefined after `ms`. */
  waitVerdict(jobId: string, ms: number, signal?: AbortSignal): Promise<HookVerdict | undefined>;
  /** The apps that were stopped for this job run again. */
  appsUp(jobId: string): void;
  /** Resolves when they do, after `ms`, and at once where this process did not see the gate passed. */
  waitAppsUp(jobId: string, ms: number, signal?: AbortSignal): Promise<void>;
}

interface Gate {
  state: GateState;
  verdict: HookVerdict | undefined;
  changed: Notifier;
  appsUp: boolean;
}

const kept = 256;

export function createGates(given: {
  clock: Clock;
  bounds: GateBounds;
  /** Called once when a gate closes by itself. */
  onEnd: (jobId: string, reason: GateEnd) => void;
  stop: AbortSignal;
}): Gates {
  const { clock, bounds, onEnd, stop } = given;
  const gates = new Map<string, Gate>();

  const newGate = (): Gate => ({
    state: openGate(clock.monotonicMs()),
    verdict: undefined,
    changed: createNotifier(clock),
    appsUp: false,
  });
  const watch = async (jobId: string, gate: Gate): Promise<void> => {
    while (gate.verdict === undefined && !stop.aborted) {
      const end = gateEnd(gate.state, bounds, clock.monotonicMs());
      if (end !== null) return onEnd(jobId, end);
      await gate.changed.wait(Math.max(1, gateDeadlineMs(gate.state, bounds) - clock.monotonicMs()), stop);
    }
  };
  const forget = (): void => {
    for (const [jobId, gate] of gates) {
      if (gates.size <= kept) return;
      if (gate.verdict !== undefined) gates.delete(jobId);
    }
  };

  return {
    open: (jobId) => {
      if (gates.has(jobId)) return;
      const gate = newGate();
      gates.set(jobId, gate);
      forget();
      void watch(jobId, gate);
    },
    poll: (jobId) => {
      const gate = gates.get(jobId);
      if (gate === undefined || gate.verdict !== undefined) return false;
      const now = clock.monotonicMs();
      gate.state = pollGate(gate.state, bounds, now);
      return gateEnd(gate.state, bounds, now) === null;
    },
    isClaimed: (jobId) => (gates.get(jobId)?.state.claimedMs ?? null) !== null,
    decide: (jobId, verdict) => {
      const gate = gates.get(jobId) ?? newGate();
      gates.set(jobId, gate);
      gate.verdict ??= verdict;
      gate.changed.notify();
    },
    verdict: (jobId) => gates.get(jobId)?.verdict,
    waitVerdict: async (jobId, ms, signal) => {
      const deadline = clock.monotonicMs() + ms;
      for (;;) {
        const gate = gates.get(jobId);
        const left = deadline - clock.monotonicMs();
        if (gate === undefined || gate.verdict !== undefined || left <= 0 || signal?.aborted === true)
          return gate?.verdict;
        await gate.changed.wait(left, signal);
      }
    },
    appsUp: (jobId) => {
      const gate = gates.get(jobId);
      if (gate === undefined) return;
      gate.appsUp = true;
      gate.changed.notify();
    },
    waitAppsUp: async (jobId, ms, signal) => {
      const deadline = clock.monotonicMs() + ms;
      for (;;) {
        const gate = gates.get(jobId);
        const left = deadline - clock.monotonicMs();
        if (gate?.verdict?.kind !== 'go' || gate.appsUp || left <= 0 || signal?.aborted === true) return;
        await gate.changed.wait(left, signal);
      }
    },
  };
}
