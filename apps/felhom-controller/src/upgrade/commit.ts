import { filesOf } from './look.ts';
import type { Definition, LastGood } from './memory.ts';
import { keepDefinition } from './old-files.ts';
import type { UpgradeMachine } from './ports.ts';
import { letGo, record, type Transaction, tell } from './run.ts';

/** The new version was seen healthy: it is the stack now. Twice equals once. */
export async function commit(transaction: Transaction): Promise<void> {
  const { ports, debt } = transaction;
  await rememberVersion(transaction);
  await record(transaction, async (machine) => {
    const now = await catchUp(machine);
    if (now?.phase !== 'verifying') return;
    const data = { ...now.data, last_success_at: new Date(ports.clock.nowMs()).toISOString(), waits_for_person: false };
    await machine.stepFrom('verifying', 'success', { data });
  });
  await letGo(transaction);
  tell({ ports, debt }, 'success');
}

/** The debt is written before the phase: a crash in between leaves the machine one step behind. */
export async function catchUp(machine: UpgradeMachine): ReturnType<UpgradeMachine['read']> {
  const now = await machine.read();
  return now?.phase === 'activated' ? await machine.stepFrom('activated', 'verifying') : now;
}

/** What `upgrade rollback` would take back, and from which files the present containers were made. */
async function rememberVersion(transaction: Transaction): Promise<void> {
  const { ports, debt } = transaction;
  try {
    const containers = (await ports.engine.list()).filter(({ project, oneoff }) => project === debt.stack && !oneoff);
    const files = filesOf(debt.stack, containers, ports.memory.pinsPath(debt.stack));
    const hashes = containers.flatMap(({ service, configHash }) =>
      service === null || configHash === null ? [] : [[service, configHash] as const],
    );
    const definition: Definition = {
      hashes: Object.fromEntries(hashes),
      files: await keepDefinition(ports.files, files),
    };
    const good: LastGood = { stack: debt.stack, definition, previous: debt };
    await ports.memory.saveLastGood(good);
  } catch (error) {
    transaction.warn(
      `what a later rollback needs could not be written: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}
