import { Failure, worstExit } from '@felhom/kernel/failure.ts';
import { appsDown } from './apps-down-failure.ts';
import type { QuiesceBounds } from './bounds.ts';
import { closeDeadRuns } from './dead-runs.ts';
import { forgive } from './forgive.ts';
import { otherDebtsOwed, settleOtherDebts } from './other-debts.ts';
import type { HeldLock, RecoverPorts } from './ports.ts';
import type { OwedContainer } from './result.ts';
import { words } from './run.ts';
import { type SettleEnd, settleMarker } from './settle.ts';
import { asRecoverFailure, takeLock } from './take-lock.ts';

/*
 * Invariants
 * - Safe at any time, by anyone: a live holder within its deadline is left alone, everything else happens under the run lock.
 * - Twice equals once: what runs with a new start is paid already.
 */

export interface RecoverOptions {
  bounds: QuiesceBounds;
  /** Drops the debts of this stack unpaid. */
  forgive: string | null;
  stop: AbortSignal;
}

export interface RecoverEnd {
  /** `nothing`: no debt. `held`: a live run is within its deadline and looks after its own. `left_to_boot`: the guest is shutting down. */
  outcome: 'nothing' | 'held' | 'left_to_boot' | 'settled' | 'owed' | 'failed';
  started: string[];
  forgiven: string[];
  owed: OwedContainer[];
  warnings: string[];
  exit: number;
  failure: Failure | null;
}

/** Settles whatever a dead run left behind. Safe at any time; twice equals once. */
export async function recover(ports: RecoverPorts, options: RecoverOptions): Promise<RecoverEnd> {
  const warnings: string[] = [];
  const warn = (text: string): void => {
    warnings.push(text);
    ports.progress({ kind: 'warning', text });
  };
  const end = (outcome: RecoverEnd['outcome'], failure: Failure | null = null): RecoverEnd => ({
    outcome,
    started: [],
    forgiven: [],
    owed: [],
    warnings,
    exit: failure?.exit ?? 0,
    failure,
  });
  if (await isStopping(ports)) return end('left_to_boot');
  const lock = await takeLock(ports, options, warn);
  if (lock === 'held') return end('held');
  if (lock instanceof Failure) return end('failed', lock);
  try {
    return await underLock(ports, lock, options, { warnings, warn });
  } catch (error) {
    return end('failed', await asRecoverFailure(ports, error));
  } finally {
    await lock.release();
  }
}

async function underLock(
  ports: RecoverPorts,
  lock: HeldLock,
  options: RecoverOptions,
  said: { warnings: string[]; warn: (text: string) => void },
): Promise<RecoverEnd> {
  const first = await ports.markers.read();
  const others = await otherDebtsOwed(ports);
  await sweep(ports, said.warn);
  const forgiven = options.forgive === null ? [] : await forgive(ports, options.forgive);
  const settled = await settleWhenDockerAnswers(ports, lock, options, said.warn);
  await closeDeadRuns(ports, settled.owed, said.warn);
  const down = settled.owed.length === 0 ? [] : [appsDown(settled.owed)];
  // Its own words about what is down say more: there may be something better to type than `docker start`.
  const failures = settled.failure?.code === 'apps_down' ? [settled.failure, ...down] : [...down, settled.failure];
  const told = failures.filter((failure) => failure !== null);
  const exit = worstExit(told.map((failure) => failure.exit));
  return {
    outcome: settled.owed.length > 0 ? 'owed' : first.kind === 'absent' && others.length === 0 ? 'nothing' : 'settled',
    started: settled.started,
    forgiven,
    owed: settled.owed,
    warnings: said.warnings,
    exit,
    failure: told.find((failure) => failure.exit === exit) ?? null,
  };
}

/** What was killed while it wrote a debt left half of one: others take a folder that is not empty for a debt. */
async function sweep({ markers, otherDebts = [] }: RecoverPorts, warn: (text: string) => void): Promise<void> {
  for (const store of [markers, ...otherDebts])
    await store.sweep().catch((error: unknown) => warn(`what a killed run left stays: ${words(error)}`));
}

/** While docker does not answer there is nothing to be done but to wait for it, with backoff and a bound. */
async function settleWhenDockerAnswers(
  ports: RecoverPorts,
  lock: HeldLock,
  { bounds, stop }: RecoverOptions,
  warn: (text: string) => void,
): Promise<Pick<SettleEnd, 'started' | 'owed' | 'failure'>> {
  const { clock } = ports;
  const options = { bounds, inheritFds: lock.inheritFds, warn };
  const endMs = clock.monotonicMs() + bounds.payRetryMs;
  for (let pauseMs = bounds.payBackoffMs; ; pauseMs = Math.min(pauseMs * 2, bounds.payBackoffLimitMs)) {
    try {
      const read = await ports.markers.read();
      if (read.kind !== 'absent' || (await otherDebtsOwed(ports)).length > 0) await ports.engine.identity();
      // What a run has stopped comes first: it is back in moments.
      const end = await settleMarker(ports, read, options);
      const others = await settleOtherDebts(ports, { ...options, stop });
      return {
        started: [...end.started, ...others.started],
        owed: [...end.owed, ...others.owed],
        failure: end.failure ?? others.failure,
      };
    } catch (error) {
      const isWorthWaiting = error instanceof Failure && error.code === 'docker_unreachable' && !stop.aborted;
      if (!isWorthWaiting || clock.monotonicMs() + pauseMs > endMs) throw error;
      await clock.sleep(pauseMs, stop);
    }
  }
}

async function isStopping({ system }: RecoverPorts): Promise<boolean> {
  try {
    return await system.isStopping();
  } catch {
    // Nobody could say: then the debts are settled, which is right in a guest that lives on.
    return false;
  }
}
