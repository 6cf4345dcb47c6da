import type { Failure } from '@felhom/kernel/failure.ts';
import type { QuiesceBounds } from './bounds.ts';
import type { RecoverPorts } from './ports.ts';
import type { OwedContainer } from './result.ts';

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
export async function recover(_ports: RecoverPorts, _options: RecoverOptions): Promise<RecoverEnd> {
  throw new Error('not built yet');
}
