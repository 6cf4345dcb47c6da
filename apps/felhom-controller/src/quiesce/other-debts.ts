import type { Failure } from '@felhom/kernel/failure.ts';
import type { QuiesceBounds } from './bounds.ts';
import type { OwedContainer } from './result.ts';

/**
 * A debt of another kind than stopped containers: a transaction over a stack that was cut off. It is proven by a file
 * of its own in the folder of debts and settled by the same recovery, under the same run lock.
 */
export interface OtherDebts {
  /** Null: nothing is owed. Reads only; a proof that cannot be read counts as owed. */
  owed(): Promise<OtherDebt | null>;
  /** Pays what is owed. Safe to call again after a crash at any step; a failure is a value, `docker_unreachable` is thrown. */
  settle(options: SettleOtherOptions): Promise<OtherSettled>;
  /** Drops what is owed to this stack, unpaid; false: nothing was owed to it. */
  forgive(stack: string): Promise<boolean>;
  /** Removes what a killed write left beside the proof. Only under the run lock. */
  sweep(): Promise<void>;
}

export interface OtherDebt {
  /** Null: the proof cannot be read, it may be any. */
  stack: string | null;
  /** Wall clock: by when its holder meant to be done. */
  deadlineMs: number;
  /** The engine on which it stands, so that the run lock can be taken while docker does not answer. */
  engineId: string | null;
}

export interface SettleOtherOptions {
  bounds: QuiesceBounds;
  inheritFds: readonly number[];
  warn: (text: string) => void;
  stop: AbortSignal;
}

export interface OtherSettled {
  /** Names of the containers that run again. */
  started: string[];
  owed: OwedContainer[];
  failure: Failure | null;
}

interface HoldsOtherDebts {
  otherDebts?: readonly OtherDebts[] | undefined;
}

/** Everything that is owed besides stopped containers. */
export async function otherDebtsOwed({ otherDebts = [] }: HoldsOtherDebts): Promise<OtherDebt[]> {
  const found: OtherDebt[] = [];
  for (const debts of otherDebts) {
    const owed = await debts.owed();
    if (owed !== null) found.push(owed);
  }
  return found;
}

/** Settles every other kind of debt, one after the other: each may touch the whole stack. */
export async function settleOtherDebts(
  { otherDebts = [] }: HoldsOtherDebts,
  options: SettleOtherOptions,
): Promise<OtherSettled & { found: boolean }> {
  const all: OtherSettled & { found: boolean } = { started: [], owed: [], failure: null, found: false };
  for (const debts of otherDebts) {
    if ((await debts.owed()) === null) continue;
    const end = await debts.settle(options);
    all.found = true;
    all.started.push(...end.started);
    all.owed.push(...end.owed);
    all.failure ??= end.failure;
  }
  return all;
}
