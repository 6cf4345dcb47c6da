import { formatBytes } from '@felhom/cli/quantity.ts';
import { asFailure, Failure } from '@felhom/kernel/failure.ts';
import { owe, type Transaction, tell } from './run.ts';
import { stopStack } from './stop-stack.ts';
import { isForLater } from './way-back.ts';

/*
 * A person takes a version back that was kept: its data has lived on, for days maybe. Before it is replaced it becomes a
 * snapshot of its own, beside the last good one.
 */

/** Looked at while the version still runs. @throws Failure `snapshot_impossible`, `no_space`; nothing was stopped. */
export async function requireSinceKept({ ports, debt }: Transaction): Promise<void> {
  if (!isWanted(debt)) return;
  const { obstacles, neededBytes, freeBytes } = await ports.data.plan(debt.stack);
  const hint = `Or give it up: felhom-controller upgrade rollback ${debt.stack} --discard`;
  if (obstacles.length > 0) {
    throw new Failure('snapshot_impossible', {
      message: `what ${debt.stack} has written since cannot be kept (${obstacles.map(({ what, why }) => `${what}: ${why}`).join('; ')}); nothing was stopped`,
      hint,
    });
  }
  if (freeBytes >= neededBytes) return;
  throw new Failure('no_space', {
    message: `to keep what ${debt.stack} has written since, and to put its old data back, takes ${formatBytes(neededBytes)}, and ${formatBytes(freeBytes)} are free; nothing was stopped`,
    hint: `Make room (df -h; docker system df). ${hint}`,
  });
}

/** Stops the version and keeps its data. Null: it is kept, or need not be; otherwise nothing of it is to be replaced. */
export async function keepSince(transaction: Transaction): Promise<Failure | null> {
  const { ports, debt } = transaction;
  if (!isWanted(debt)) return null;
  try {
    const prepared = await ports.data.prepare(debt.stack);
    await stopStack(transaction);
    const signal = new AbortController().signal; // It is being taken back already.
    const kept = await prepared.keep({ reason: `before rollback ${debt.run_id}`, signal, isGood: false });
    await owe(transaction, { since_id: kept.id });
    tell(transaction, 'kept');
    return null;
  } catch (error) {
    const failure = asFailure(error);
    if (isForLater(failure)) throw failure;
    return failure;
  }
}

function isWanted({ keep_since, since_id, snapshot_id, data_restored }: Transaction['debt']): boolean {
  return keep_since && since_id === null && snapshot_id !== null && !data_restored;
}
