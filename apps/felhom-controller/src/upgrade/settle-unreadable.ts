import { Failure } from '@felhom/kernel/failure.ts';
import type { ContainerState, Engine } from '../engine/engine.ts';
import { debtsFromEngine } from '../quiesce/debt.ts';
import type { OtherSettled, SettleOtherOptions } from '../quiesce/other-debts.ts';
import { payDebts } from '../quiesce/pay.ts';
import { toDebt } from '../quiesce/plan.ts';
import type { OwedContainer } from '../quiesce/result.ts';
import type { UpgradeNotes } from './memory.ts';
import type { MemoryPort, UpgradeDebtRead, UpgradeMachine, UpgradePorts } from './ports.ts';
import type { UpgradeSettings } from './run.ts';

/*
 * The debt of an upgrade of which both copies are broken, or that a newer version wrote. The phase machines still say
 * which stack may be between two versions.
 *
 * Invariants
 * - Only containers of the old version are started, and only where phase and images both say that it was never left: a mix
 *   of two versions on the data of one of them is worse than a stack that is down.
 * - Everything else is left as it is, and told with 20 while anything of it is down.
 */

type UnreadablePorts = Pick<UpgradePorts, 'clock' | 'machine' | 'debts'> & {
  engine: Engine;
  memory: Pick<MemoryPort, 'stacks'>;
};

export type UnreadableDebt = Extract<UpgradeDebtRead, { kind: 'newer' | 'unreadable' }>;

/** A stack whose last attempt has not ended. */
interface Between {
  stack: string;
  phase: string;
  /** Wall clock: since when its containers may have been stopped. */
  sinceMs: number;
  /** Null: its state cannot be read. */
  changes: UpgradeNotes['changes'] | null;
}

/** Starts what was stopped of stacks that had not left their old version, and says what a person has to decide. */
export async function settleUnreadable(
  ports: UnreadablePorts,
  { quiesce: bounds }: Pick<UpgradeSettings, 'quiesce'>,
  read: UnreadableDebt,
  { inheritFds, warn }: Pick<SettleOtherOptions, 'inheritFds' | 'warn'>,
): Promise<OtherSettled> {
  const containers = await ports.engine.list();
  const end: OtherSettled = { started: [], owed: [], failure: null };
  const undecided: Between[] = [];
  for (const between of await unfinished(ports)) {
    const own = containers.filter(({ project, oneoff }) => project === between.stack && !oneoff);
    if (!neverLeft(between, own)) {
      undecided.push(between);
      end.owed.push(...downOf(between, own));
      continue;
    }
    const debts = debtsFromEngine(own, between.sinceMs, 'unreadable', (container) => ({
      ...toDebt(container, containers, 'unreadable'),
      // Never made anew from files that are the new version's by now.
      compose_files: [],
    }));
    const paid = await payDebts(ports, debts, { bounds, inheritFds });
    end.started.push(...paid.paid.map(({ debt }) => debt.name));
    end.owed.push(...paid.owed.map(({ debt, why }) => ({ stack: between.stack, container: debt.name, why })));
    if (paid.owed.length === 0 && debts.length > 0) await noteFailed(ports.machine(between.stack), warn);
  }
  const isPaid = undecided.length === 0 && end.owed.length === 0;
  // What a newer version wrote stays for it.
  if (isPaid && read.kind === 'unreadable') await ports.debts.erase();
  return { ...end, failure: toldAs(read, end, undecided) };
}

/** Drops such a debt on a person's word; false: no stack of that name can be meant. */
export async function forgiveUnreadable(
  ports: Pick<UnreadablePorts, 'machine' | 'memory' | 'debts'>,
  stack: string,
): Promise<boolean> {
  const between = await unfinished(ports);
  if (!between.some((each) => each.stack === stack)) return false;
  await endForgiven(ports.machine(stack));
  await ports.debts.erase();
  return true;
}

/** The attempt of a debt that a person has dropped is over: the next one must not wait for it. */
export async function endForgiven(machine: UpgradeMachine): Promise<void> {
  try {
    const now = await machine.read();
    const change = { lastError: 'a person has given it up: whatever version is there is theirs to look after' };
    if (now?.phase === 'staged') await machine.stepFrom('staged', 'failed', change);
    if (now?.phase === 'activated' || now?.phase === 'verifying') await machine.step('rolled_back', change);
  } catch {
    // What it says is for people; the debt is what counts, and it goes.
  }
}

/** Stacks whose machine stands between its first step and an end. One whose state cannot be read may be one. */
async function unfinished({ memory, machine }: Pick<UnreadablePorts, 'machine' | 'memory'>): Promise<Between[]> {
  const found: Between[] = [];
  for (const stack of await memory.stacks()) {
    try {
      const now = await machine(stack).read();
      if (now === null || now.data.waits_for_person) continue;
      const { phase, updatedAtMs, startedAtMs, data } = now;
      if (phase === 'staged') found.push({ stack, phase, sinceMs: updatedAtMs, changes: data.changes });
      if (phase === 'activated' || phase === 'verifying')
        found.push({ stack, phase, sinceMs: startedAtMs, changes: data.changes });
    } catch {
      // Said by what comes of it: it is decided by a person.
      found.push({ stack, phase: 'unknown', sinceMs: 0, changes: null });
    }
  }
  return found;
}

/** By its phase, and by what the engine has: the old image of every service that was to change, and none that is new. */
function neverLeft({ phase, changes }: Between, own: readonly ContainerState[]): boolean {
  if (phase !== 'staged' || changes === null) return false;
  return changes.every(({ service, from }) => {
    const containers = own.filter((each) => each.service === service);
    if (from === null) return containers.length === 0;
    const id = from.split(' ').at(-1);
    return containers.length > 0 && containers.every(({ imageId }) => imageId === id);
  });
}

function downOf({ stack, phase, sinceMs }: Between, own: readonly ContainerState[]): OwedContainer[] {
  const why = `its upgrade stood at "${phase}", and what is owed to it cannot be read`;
  if (own.length === 0) return [{ stack, container: stack, why }];
  return own
    .filter(({ status, finishedAt }) => status === 'exited' && Date.parse(finishedAt) >= sinceMs)
    .map(({ name }) => ({ stack, container: name, why }));
}

async function noteFailed(machine: UpgradeMachine, warn: (text: string) => void): Promise<void> {
  try {
    await machine.stepFrom('staged', 'failed', { lastError: 'what was owed to it could not be read' });
  } catch (error) {
    warn(`the state of the upgrade could not be written: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function toldAs(read: UnreadableDebt, { started, owed }: OtherSettled, undecided: readonly Between[]): Failure {
  const what =
    read.kind === 'newer'
      ? `was written by a newer version of this program (format ${read.version})`
      : `cannot be read (${read.reason})`;
  const words = `the debt of an upgrade ${what}`;
  const [first] = undecided;
  if (first !== undefined && owed.length > 0) {
    const { stack } = first;
    return new Failure('apps_down', {
      message: `${words}, and ${undecided.map((each) => each.stack).join(', ')} may be DOWN between two versions: nothing of it was touched`,
      hint: `Look at: docker compose -p ${stack} ps --all. Back to the old version: felhom-controller snapshot restore ${stack} --files, then docker compose -p ${stack} up -d; on to the new one: docker compose -p ${stack} up -d. Then: felhom-controller recover --forgive ${stack}`,
    });
  }
  const state =
    first !== undefined
      ? `${first.stack} runs, in whichever version it reached (felhom-controller recover --forgive ${first.stack} says that this is well)`
      : started.length === 0
        ? 'nothing was found down'
        : `started again, in its old version: ${started.join(', ')}; look at their restart policies, which the upgrade may have set to "no" (docker update --restart)`;
  return new Failure(read.kind === 'newer' ? 'state_newer' : 'state_unreadable', {
    message: `${words}; ${state}`,
    hint:
      read.kind === 'newer'
        ? 'Install the newer felhom-controller again, then: felhom-controller recover'
        : 'Compare with what should run: felhom-controller stack list',
  });
}
