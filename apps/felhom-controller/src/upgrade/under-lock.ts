import { Failure } from '@felhom/kernel/failure.ts';
import type { Engine } from '../engine/engine.ts';
import type { HeldLock } from '../quiesce/ports.ts';
import { takeRunLock } from '../quiesce/take-run-lock.ts';
import type { UpgradePorts } from './ports.ts';
import type { StackLook } from './upgrade-plan.ts';

/**
 * Works on a stack under the run lock, where no other upgrade owes anything, and nobody owes this stack anything: there is
 * one debt, and whoever writes or erases it while it is another's leaves that stack down for good; and a stack that a
 * killed backup has left down would be taken for one that a person switched off. @throws Failure `busy`; nothing was stopped.
 */
export async function underRunLock<T>(
  ports: Pick<UpgradePorts, 'lock' | 'clock' | 'system' | 'debts' | 'othersOwe'>,
  { stack, patienceMs, stop }: { stack: string; patienceMs: number; stop: AbortSignal },
  work: (held: HeldLock, runId: string) => Promise<T>,
): Promise<T> {
  const runId = ports.system.newRunId();
  const lock = await takeRunLock(ports, { what: 'upgrade', runId, patienceMs, stop });
  try {
    if ((await ports.debts.read()).kind !== 'absent') throw owed('another upgrade was cut off and is not settled yet');
    if (await ports.othersOwe(stack))
      throw owed(`a run that stopped ${stack} was cut off, and its apps are not all back yet`);
    return await work(lock, runId);
  } finally {
    await lock.release();
  }
}

/**
 * The look with its containers as they are under the lock: since it was taken images were fetched, and a backup may have
 * started them anew. @throws Failure `busy` where they are other containers.
 */
export async function asItIsNow({ engine }: { engine: Pick<Engine, 'list'> }, look: StackLook): Promise<StackLook> {
  const containers = (await engine.list()).filter(({ project, oneoff }) => project === look.stack && !oneoff);
  const before = new Set(look.containers.map(({ id }) => id));
  if (containers.length === before.size && containers.every(({ id }) => before.has(id))) return { ...look, containers };
  throw new Failure('busy', {
    message: `somebody has changed the containers of ${look.stack} since they were looked at; nothing was stopped`,
    hint: 'Run the same command again.',
  });
}

function owed(why: string): Failure {
  return new Failure('busy', {
    message: `${why}; nothing was stopped`,
    hint: 'Settle it first: felhom-controller recover',
  });
}
