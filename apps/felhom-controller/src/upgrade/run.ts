import type { QuiesceBounds } from '../quiesce/bounds.ts';
import { interruptionFailure } from '../quiesce/interruption.ts';
import type { HeldLock } from '../quiesce/ports.ts';
import type { UpgradeBounds } from './bounds.ts';
import type { UpgradeDebt } from './debt.ts';
import type { Probe, UpgradePorts } from './ports.ts';

export interface StackPolicy {
  policy: 'auto' | 'ask' | 'never';
  /** `01:00-05:00`, local time; null: always. */
  window: string | null;
  probe: Probe | null;
  rollbackAfter: number;
}

export interface UpgradeSettings {
  bounds: UpgradeBounds;
  quiesce: QuiesceBounds;
  /** Per stack. */
  policyOf: (stack: string) => StackPolicy;
  /** Its existence blocks every upgrade of this guest. */
  blockFile: string;
}

/** A transaction under way: by the command that began it, or by a recovery. */
export interface Transaction {
  ports: UpgradePorts;
  settings: UpgradeSettings;
  lock: HeldLock;
  /** As it lies on disk. */
  debt: UpgradeDebt;
  stop: AbortSignal;
  warn(text: string): void;
}

/** Changes the debt, durably, and only then what we know of it. */
export async function owe(transaction: Transaction, change: Partial<UpgradeDebt>): Promise<void> {
  const { ports, settings } = transaction;
  const deadlineMs = ports.clock.nowMs() + settings.bounds.maxUpgradeMs;
  const debt = { ...transaction.debt, deadline_at_ms: deadlineMs, ...change };
  await ports.debts.write(debt);
  transaction.debt = debt;
  await transaction.lock.update({ runId: debt.run_id, deadlineMs });
}

/**
 * Nothing is owed any more: the room set aside is given back, and the debt goes. One that cannot be erased is paid all the
 * same, and the next recovery finds nothing to do: no failure here turns anything back.
 */
export async function letGo({ ports, debt, warn }: Pick<Transaction, 'ports' | 'debt' | 'warn'>): Promise<void> {
  try {
    await ports.files.release(debt.reserved);
    await ports.debts.erase();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    warn(`what was owed to ${debt.stack} is paid and could not be erased (${why}): recovery looks at it once more`);
  }
}

/** Tells whoever watches. */
export function tell({ ports, debt }: Pick<Transaction, 'ports' | 'debt'>, event: string): void {
  ports.progress({ kind: 'step', stack: debt.stack, event, atMs: ports.clock.nowMs() });
}

/** Moves the phase machine where it can be read; what it says is for people, the debt is what recovery goes by. */
export async function record(
  transaction: Pick<Transaction, 'ports' | 'debt' | 'warn'>,
  move: (machine: ReturnType<UpgradePorts['machine']>) => Promise<unknown>,
): Promise<void> {
  try {
    await move(transaction.ports.machine(transaction.debt.stack));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    transaction.warn(`the state of the upgrade could not be written: ${why}`);
  }
}

/** A signal ends an upgrade by taking it back. @throws Failure `interrupted`, `terminated`. */
export function endIfAsked({ stop, debt }: Pick<Transaction, 'stop' | 'debt'>): void {
  if (stop.aborted)
    throw interruptionFailure(stop, 'it is taken back', `Start again: felhom-controller upgrade apply ${debt.stack}`);
}
