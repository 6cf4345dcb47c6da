import { Failure } from '@felhom/kernel/failure.ts';
import { dependenciesAmong } from '../quiesce/order.ts';
import { debtAsOrdered } from '../quiesce/plan.ts';
import { stopAll } from '../quiesce/stop.ts';
import { bringUpNew } from './bring-up-new.ts';
import { commit } from './commit.ts';
import type { PreparedData } from './ports.ts';
import { endIfAsked, owe, record, type Transaction, tell } from './run.ts';
import { verifyNew } from './verify.ts';

/*
 * Invariants
 * - Nothing stops before the debt is durable, and nothing of the new version exists before the data of the old one is kept.
 * - While data is read or swapped, no restart policy is in force: an engine that restarts starts nothing of this stack.
 * - Whatever throws leaves the debt as it stands: who catches it settles it, the same way as a recovery would.
 */

/** From a promise that is durable to a new version that was seen healthy. Throws where it has to be taken back. */
export async function goForward(transaction: Transaction, data: PreparedData | null): Promise<void> {
  await holdRestarts(transaction);
  await stopOld(transaction);
  if (data !== null) await keepData(transaction, data);
  await activate(transaction);
  await verifyNew(transaction);
  await commit(transaction);
}

async function holdRestarts({ ports, debt }: Transaction): Promise<void> {
  for (const { id } of debt.policies) await ports.engine.setRestartPolicy(id, { name: 'no', retries: 0 });
}

async function stopOld(transaction: Transaction): Promise<void> {
  const { ports, debt, settings, stop } = transaction;
  const { engine, clock } = ports;
  tell(transaction, 'stopping');
  await stopAll(
    debt.containers.map(({ id, stop_grace_ms }) => ({ id, graceMs: stop_grace_ms })),
    dependenciesAmong(debt.containers.map(debtAsOrdered)),
    { engine, clock, stopMarginMs: settings.quiesce.stopMarginMs, halt: stop },
  );
  endIfAsked(transaction);
  const up = (await engine.list()).filter(
    ({ project, status }) => project === debt.stack && status !== 'exited' && status !== 'created' && status !== 'dead',
  );
  if (up.length > 0) {
    throw new Failure('upgrade_failed', {
      message: `${up.map(({ name }) => name).join(', ')} could not be stopped`,
      hint: `Look at: docker ps; docker logs --tail 20 ${up[0]?.name ?? ''}`,
    });
  }
  tell(transaction, 'stopped');
}

async function keepData(transaction: Transaction, data: PreparedData): Promise<void> {
  const { debt, stop } = transaction;
  const kept = await data.keep({ reason: `upgrade ${debt.run_id}`, signal: stop, isGood: true });
  endIfAsked(transaction);
  await owe(transaction, { snapshot_id: kept.id });
  tell(transaction, 'kept');
}

/** Past this line nothing but a healthy new version or a rollback is an end. */
async function activate(transaction: Transaction): Promise<void> {
  const { ports, debt, settings } = transaction;
  await owe(transaction, { phase: 'activated', activated_at_ms: ports.clock.nowMs() });
  await record(transaction, async (machine) => {
    const snapshot = { snapshot_id: transaction.debt.snapshot_id };
    const now = await machine.read();
    await machine.stepFrom('staged', 'activated', now === null ? {} : { data: { ...now.data, ...snapshot } });
  });
  tell(transaction, 'activated');
  for (const container of (await ports.engine.list()).filter(
    ({ project, service }) => project === debt.stack && debt.dropped.includes(service ?? ''),
  ))
    await ports.engine.remove(container.id, { boundMs: settings.quiesce.startMs });
  await bringUpNew(transaction);
  endIfAsked(transaction);
  await owe(transaction, { phase: 'verifying' });
  await record(transaction, async (machine) => machine.stepFrom('activated', 'verifying'));
  tell(transaction, 'verifying');
}
