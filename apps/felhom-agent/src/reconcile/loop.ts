import { asFailure, type Failure } from '@felhom/kernel/failure.ts';
import { guestBackoff } from './guest-backoff.ts';
import { type PassOptions, runPass } from './pass.ts';
import type { ReconcilePorts } from './ports.ts';
import { recoverActions } from './recover.ts';
import type { PassReport } from './report.ts';
import { guestsUnderWay } from './under-way.ts';

/*
 * Passes without end: first the gate, in which what an earlier run left open is resolved; then a pass at once, and one
 * every interval, give or take a tenth, so that the nodes of a cluster do not all come at the same second.
 *
 * Invariants
 * - A pass that fails as a whole is followed by a longer pause, and by the next one; the loop itself ends by `stop` alone.
 * - `stop` ends every wait at once, and lets the pass under way come to its end, `stop_grace` long.
 * - A guest that takes long does not hold the others up: a pass waits for it no longer than an interval, and those that
 *   follow go on beside it.
 */

export interface LoopOptions extends Omit<PassOptions, 'backoff' | 'beyond'> {
  intervalMs: number;
  /** Longest pause after failures. */
  longestPauseMs: number;
  /** Longest time in the gate. */
  gateMs: number;
  /** From 0 to 1. */
  random: () => number;
  onReport: (report: PassReport) => void;
  /** A pass that could not be made at all. */
  onFailure: (failure: Failure) => void;
  /** Called whenever the loop comes along; how a watchdog is told that it lives. */
  onBeat?: (() => void) | undefined;
}

const jitter = 0.1;
const firstGatePauseMs = 1_000;
const longestGatePauseMs = 30_000;

/** Ends when `stop` aborts and all that is under way has ended or was left to the journal. Never throws for what happens in a pass. */
export async function runLoop(ports: ReconcilePorts, options: LoopOptions): Promise<void> {
  const { clock } = ports;
  const { intervalMs, longestPauseMs, stop, onBeat } = options;
  const backoff = guestBackoff({ firstMs: intervalMs, longestMs: longestPauseMs });
  const underWay = guestsUnderWay(options.limits.mutations);
  const beyond = { underWay, patienceMs: intervalMs };
  await passGate(ports, options);
  let failures = 0;
  while (!stop.aborted) {
    onBeat?.();
    try {
      options.onReport(await runPass(ports, { ...options, backoff, beyond }));
      failures = 0;
    } catch (error) {
      failures += 1;
      options.onFailure(asFailure(error));
    }
    onBeat?.();
    if (!stop.aborted) await clock.sleep(pauseMs(options, failures), stop);
  }
  await underWay.idle();
}

/** The interval, give or take a tenth; doubled after every pass that failed as a whole, up to the longest pause. */
function pauseMs({ intervalMs, longestPauseMs, random }: LoopOptions, failures: number): number {
  const plain =
    failures === 0 ? intervalMs : Math.max(intervalMs, Math.min(longestPauseMs, intervalMs * 2 ** failures));
  return plain * (1 - jitter + 2 * jitter * random());
}

/** Nothing is planned before what is open is resolved; but a node that cannot be asked does not hold the loop for ever. */
async function passGate(ports: ReconcilePorts, { limits, gateMs, stop, onBeat }: LoopOptions): Promise<void> {
  const { clock } = ports;
  const deadlineMs = clock.monotonicMs() + gateMs;
  for (let waitMs = firstGatePauseMs; !stop.aborted; waitMs = Math.min(waitMs * 2, longestGatePauseMs)) {
    onBeat?.();
    const unresolved = await openAfterALook(ports, { limits, deadlineMs: clock.monotonicMs() + waitMs, stop });
    const leftMs = deadlineMs - clock.monotonicMs();
    if (unresolved === 0 || leftMs <= 0) return;
    await clock.sleep(Math.min(waitMs, leftMs), stop);
  }
}

async function openAfterALook(ports: ReconcilePorts, options: Parameters<typeof recoverActions>[1]): Promise<number> {
  try {
    return (await recoverActions(ports, options)).filter(({ outcome }) => outcome === 'open').length;
  } catch (error) {
    ports.log('what was left open cannot be resolved yet', { error: asFailure(error).message });
    return 1;
  }
}
