import { Failure } from '@felhom/kernel/failure.ts';
import type { UpgradeDebt } from './debt.ts';
import { climb, type Expected, type LadderEnd } from './ladder.ts';
import type { Rung } from './memory.ts';
import type { UpgradePorts } from './ports.ts';
import { endIfAsked, record, type Transaction } from './run.ts';

/** Climbs the health ladder of the new version until it is healthy, or has failed as often in a row as it may. */
export async function verifyNew(transaction: Transaction): Promise<void> {
  const { ports, debt, settings, stop } = transaction;
  for (let failures = await failuresSoFar(transaction); ; ) {
    const end = await climbNew(transaction);
    await noteRungs(transaction, end.rungs);
    endIfAsked(transaction);
    if (end.why === null) {
      await record(transaction, async (machine) => machine.countPass());
      return;
    }
    failures += 1;
    await record(transaction, async (machine) => machine.countFailure(end.why ?? ''));
    if (failures >= debt.rollback_after) throw unhealthy(debt, end.why);
    transaction.warn(`${debt.stack} is not healthy (${end.why}); ${failures} of ${debt.rollback_after} in a row`);
    await ports.clock.sleep(settings.bounds.retryMs, stop);
  }
}

/** One climb by the new version. */
export async function climbNew(transaction: Transaction): Promise<LadderEnd> {
  const { ports, debt, settings, stop } = transaction;
  const expected = await expectedOfNew(ports, debt);
  return await climb(ports, {
    stack: debt.stack,
    expected,
    probe: settings.policyOf(debt.stack).probe,
    bounds: settings.bounds,
    folders: await foldersOf(ports, debt.stack),
    stop,
  });
}

async function expectedOfNew({ engine }: UpgradePorts, debt: UpgradeDebt): Promise<Expected[]> {
  const config = await engine.composeConfig(debt.files);
  const tasks = new Set(
    config.services.flatMap(({ dependsOn }) =>
      dependsOn.flatMap(({ service, condition }) => (condition === 'service_completed_successfully' ? [service] : [])),
    ),
  );
  return debt.up.map((service) => ({
    service,
    imageId: debt.target.images.find((each) => each.service === service)?.id ?? null,
    healthy: true,
    task: tasks.has(service),
  }));
}

/** Where the data lies; nowhere, where nobody can say. */
export async function foldersOf({ data }: UpgradePorts, stack: string): Promise<string[]> {
  return (await data.plan(stack).catch(() => ({ folders: [] }))).folders;
}

export async function noteRungs(transaction: Transaction, rungs: Rung[]): Promise<void> {
  await record(transaction, async (machine) => {
    const now = await machine.read();
    if (now !== null) await machine.note({ data: { ...now.data, rungs } });
  });
}

/** Of this attempt, whoever counted them: a controller that was killed does not begin anew. */
async function failuresSoFar({ ports, debt }: Transaction): Promise<number> {
  const now = await ports
    .machine(debt.stack)
    .read()
    .catch(() => null); // Unreadable: then they are counted from here.
  return now?.phase === 'verifying' ? now.checkFailures : 0;
}

function unhealthy({ stack }: UpgradeDebt, why: string): Failure {
  return new Failure('upgrade_failed', {
    message: `the new version of ${stack} is not healthy: ${why}`,
    hint: `Look at its logs before the next try: docker compose -p ${stack} logs`,
  });
}
