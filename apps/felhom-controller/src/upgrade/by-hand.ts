import { Failure } from '@felhom/kernel/failure.ts';
import { type ActivateEnd, type TakeBackRequest, takeBackUnderLock } from './activate.ts';
import { commit } from './commit.ts';
import type { UpgradeDebt } from './debt.ts';
import { climb, type Expected, type LadderEnd } from './ladder.ts';
import { lookAtStack } from './look.ts';
import type { UpgradeNotes } from './memory.ts';
import type { UpgradePorts } from './ports.ts';
import type { Transaction, UpgradeSettings } from './run.ts';
import { endStale } from './stage.ts';
import { underRunLock } from './under-lock.ts';
import { ran } from './upgrade-plan.ts';
import { climbNew, foldersOf, noteRungs } from './verify.ts';

/** What `upgrade rollback` would go back to. @throws Failure `not_found`. */
export async function previousVersion(ports: UpgradePorts, stack: string): Promise<UpgradeDebt> {
  const previous = (await ports.memory.lastGood(stack))?.previous ?? null;
  if (previous !== null) return previous;
  throw new Failure('not_found', {
    message: `no upgrade of ${stack} is known that could be taken back; nothing was stopped`,
    hint: 'Only an upgrade made by felhom-controller upgrade apply can be. Snapshots of its data: felhom-controller snapshot list',
  });
}

/**
 * A person takes the last upgrade back, with the data as it was before it: by the same code as every rollback. `sinceId`: the
 * snapshot of what was written since.
 */
export async function rollBackByHand(
  ports: UpgradePorts,
  settings: UpgradeSettings,
  stack: string,
  request: TakeBackRequest,
): Promise<ActivateEnd & { sinceId: string | null }> {
  const previous = await previousVersion(ports, stack);
  const machine = ports.machine(stack);
  const begin = async (): Promise<void> => {
    const before = await machine.read();
    if (before?.phase === 'activated' || before?.phase === 'verifying') return;
    await endStale(ports, stack);
    await machine.begin(`back to before ${previous.run_id}`, notes(before?.data, previous));
    await machine.stepFrom('idle', 'checking');
    await machine.stepFrom('checking', 'staged');
    await machine.stepFrom('staged', 'activated');
  };
  return await takeBackUnderLock(ports, settings, { ...previous, phase: 'activated' }, { ...request, begin });
}

function notes(before: UpgradeNotes | undefined, previous: UpgradeDebt): UpgradeNotes {
  return {
    run_id: previous.run_id,
    changes: previous.old.map(({ name, image_ref }) => ({ service: name, kind: 'back', from: null, to: image_ref })),
    gates: [],
    rungs: [],
    snapshot_id: previous.snapshot_id,
    not_rolled_back: before?.not_rolled_back ?? [],
    downtime_ms: null,
    last_success_at: before?.last_success_at ?? null,
    waits_for_person: false,
  };
}

/** Climbs the ladder of what runs now; where an upgrade waits for a person, a pass commits it. */
export async function checkHealth(
  ports: UpgradePorts,
  settings: UpgradeSettings,
  stack: string,
  { stop, warn }: { stop: AbortSignal; warn: (text: string) => void },
): Promise<LadderEnd & { committed: boolean }> {
  const now = await ports.machine(stack).read();
  if (now?.phase === 'verifying' && now.data.waits_for_person) {
    const patienceMs = settings.quiesce.lockPatienceMs;
    return await underRunLock(ports, { stack, patienceMs, stop }, async (lock) => {
      const debt = await previousVersion(ports, stack);
      const transaction: Transaction = { ports, settings, lock, debt, stop, warn };
      const end = await climbNew(transaction);
      await noteRungs(transaction, end.rungs);
      if (end.why === null) await commit(transaction);
      return { ...end, committed: end.why === null };
    });
  }
  const look = await lookAtStack(ports, stack, { askRegistry: false, registryMs: settings.bounds.registryMs });
  const end = await climb(ports, {
    stack,
    expected: expectedOf(look.containers),
    probe: settings.policyOf(stack).probe,
    bounds: settings.bounds,
    folders: await foldersOf(ports, stack),
    stop,
  });
  return { ...end, committed: false };
}

function expectedOf(containers: Awaited<ReturnType<typeof lookAtStack>>['containers']): Expected[] {
  const services = new Set(containers.filter(ran).flatMap(({ service }) => (service === null ? [] : [service])));
  return [...services].map((service) => ({ service, imageId: null, healthy: true, task: false }));
}
