import type { Failure } from '@felhom/kernel/failure.ts';
import { payDebts } from '../quiesce/pay.ts';
import type { OwedContainer } from '../quiesce/result.ts';
import type { Rung } from './memory.ts';
import { rollBack } from './roll-back.ts';
import { letGo, owe, record, type Transaction, tell } from './run.ts';
import type { WayBack } from './way-back.ts';

/*
 * Invariants
 * - The end of an upgrade that failed and every recovery run this code. Twice equals once.
 * - What it does is chosen by the debt alone: before activation the old containers are started again, from then on
 *   the old version is made again from what was kept.
 */

export interface TakenBack {
  /** `kept`: there was no way back, and the new version stays. */
  outcome: 'failed' | 'rolled_back' | 'owed' | 'kept';
  started: string[];
  owed: OwedContainer[];
  /** The old version is as healthy as it was. */
  recovered: boolean;
  rungs: Rung[];
  /** Of `kept`: what a person is told. */
  failure: Failure | null;
}

/** Brings the old version back, from whatever point. Throws `docker_unreachable` and what cannot be written; then the debt stays. */
export async function takeBack(transaction: Transaction, why: string, wayBack?: WayBack): Promise<TakenBack> {
  if (transaction.debt.phase !== 'staged') return await rollBack(transaction, why, wayBack);
  const resumed = await resumeOld(transaction);
  if (resumed.owed.length === 0) {
    await record(transaction, async (machine) => {
      const now = await machine.read();
      if (now?.phase === 'staged') await machine.stepFrom('staged', 'failed', { lastError: why });
    });
    await letGo(transaction);
    tell(transaction, 'failed');
    return { outcome: 'failed', recovered: true, rungs: [], failure: null, ...resumed };
  }
  // Its containers are gone: they are made again. The data was never touched, and a snapshot of it is the same.
  await owe(transaction, { phase: 'rolling_back', reason: why });
  return await rollBack(transaction, why);
}

/** Exactly the containers that ran, with the restart policies that they had. */
async function resumeOld({
  ports,
  debt,
  settings,
  lock,
  warn,
}: Transaction): Promise<Pick<TakenBack, 'started' | 'owed'>> {
  const started: string[] = [];
  const { owed } = await payDebts({ engine: ports.engine, clock: ports.clock }, debt.containers, {
    bounds: settings.quiesce,
    inheritFds: lock.inheritFds,
    onPaid: ({ name }) => void started.push(name),
    onTrouble: ({ name }, trouble) => warn(`${name} is not running yet: ${trouble}`),
  });
  for (const { id, name, retries } of debt.policies) await ports.engine.setRestartPolicy(id, { name, retries });
  return { started, owed: owed.map(({ debt: { name }, why }) => ({ stack: debt.stack, container: name, why })) };
}
