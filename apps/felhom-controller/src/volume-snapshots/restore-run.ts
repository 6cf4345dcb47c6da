import { Failure } from '@felhom/kernel/failure.ts';
import type { QuiesceBounds } from '../quiesce/bounds.ts';
import type { RunPorts } from '../quiesce/ports.ts';
import { markerOwes } from '../quiesce/stack-owed.ts';
import { startGuard } from '../quiesce/start-guard.ts';
import type { Restored, VolumeSnapshots } from './contract.ts';
import { holdingRunLock } from './hold-lock.ts';
import { requireNotBetween } from './not-between.ts';

export interface RestoreRunOptions {
  stack: string;
  /** Null: the last good one. */
  id: string | null;
  files: boolean;
  bounds: QuiesceBounds;
  stop: AbortSignal;
}

const guardMs = 24 * 3_600_000;

/**
 * `snapshot restore`: under the run lock, with a guard that settles what is left if we die.
 * @throws Failure in every way in which it does not come to its end.
 */
export async function restoreRun(
  ports: RunPorts,
  snapshots: VolumeSnapshots,
  { stack, id, files, bounds, stop }: RestoreRunOptions,
): Promise<Restored> {
  return await holdingRunLock(ports, { bounds, stop }, async (lock) => {
    await requireNothingOwed(ports, stack);
    const wanted = id ?? (await snapshots.lastGood(stack));
    if (wanted === null) {
      throw new Failure('not_found', {
        message: `${stack} has no last good snapshot`,
        hint: `Name one: felhom-controller snapshot list ${stack}`,
      });
    }
    const guard = await startGuard(ports.guard, (text) => ports.progress({ kind: 'warning', text }));
    guard.arm(guardMs);
    try {
      return await snapshots.restore(stack, wanted, {
        files,
        trust: 'stack',
        inheritFds: lock.inheritFds,
        signal: stop,
      });
    } finally {
      // What could neither be finished nor undone here will not be settled by trying again at once.
      guard.disarm();
    }
  });
}

/**
 * Containers that recovery is about to start must not meet data that is being exchanged, nor must what recovery is about to
 * put back for an upgrade lie over what a person has put back meanwhile.
 */
async function requireNothingOwed(ports: RunPorts, stack: string): Promise<void> {
  if (markerOwes(await ports.markers.read(), stack)) {
    throw new Failure('busy', {
      message: `an interrupted run still owes ${stack} a start. Nothing was touched`,
      hint: `Settle it first: felhom-controller recover. Then stop the stack: docker compose -p ${stack} stop`,
    });
  }
  await requireNotBetween(ports, stack);
}
