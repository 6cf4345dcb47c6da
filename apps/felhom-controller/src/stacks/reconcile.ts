import { asFailure, Failure, worstExit } from '@felhom/kernel/failure.ts';
import type { ContainerState } from '../engine/engine.ts';
import { appsDown } from '../quiesce/apps-down-failure.ts';
import type { QuiesceBounds } from '../quiesce/bounds.ts';
import { type Debt, stackOf } from '../quiesce/marker.ts';
import { otherDebtsOwed } from '../quiesce/other-debts.ts';
import { type PaidDebt, payDebts } from '../quiesce/pay.ts';
import { toDebt } from '../quiesce/plan.ts';
import type { RecoverPorts } from '../quiesce/ports.ts';
import { type RecoverEnd, recover } from '../quiesce/recover.ts';
import type { OwedContainer } from '../quiesce/result.ts';
import { type CompanionEnd, settleCompanions, type UnitsPort } from './companions.ts';
import type { DeclaredStack } from './declared.ts';
import { type Memory, type MemoryPort, wentDownWithGuest } from './memory.ts';
import { planStarts, type StackPlan } from './plan-start.ts';

/*
 * Invariants
 * - Recovery goes first: what is owed is paid before anything is declared to run.
 * - Everything happens under the run lock, and is looked at under it: a backup, an upgrade and this never meet.
 * - Starting is all that is done: nothing is made, pulled, stopped or removed.
 */

export interface ReconcilePorts extends RecoverPorts {
  units: UnitsPort;
  memory: MemoryPort;
  /** Tells this boot of the guest from every other. */
  boot(): Promise<string>;
  /** Why each held stack is held. */
  holds(): Promise<ReadonlyMap<string, string>>;
}

export interface ReconcileOptions {
  declared: readonly DeclaredStack[];
  bounds: QuiesceBounds;
  stop: AbortSignal;
}

export interface StackEnd {
  name: string;
  outcome: 'runs' | 'started' | 'left_alone' | 'not_installed' | 'failed';
  why: string | null;
  started: string[];
  down: OwedContainer[];
  left_off: { container: string; why: string }[];
  companions: CompanionEnd[];
}

export interface ReconcileEnd {
  /** `busy`: another run has the lock; `left_to_boot`: the guest is shutting down. In both nothing was touched. */
  outcome: 'done' | 'busy' | 'left_to_boot' | 'failed';
  recovered: Pick<RecoverEnd, 'outcome' | 'started' | 'owed'>;
  stacks: StackEnd[];
  exit: number;
  failure: Failure | null;
}

/** One pass: recover, look, start what is declared to run and does not, see to its companions. */
export async function reconcileStacks(ports: ReconcilePorts, options: ReconcileOptions): Promise<ReconcileEnd> {
  const recovered = await recover(ports, { bounds: options.bounds, forgive: null, stop: options.stop });
  const told = { outcome: recovered.outcome, started: recovered.started, owed: recovered.owed };
  const end = (outcome: ReconcileEnd['outcome'], failure: Failure | null = null): ReconcileEnd => ({
    outcome,
    recovered: told,
    stacks: [],
    exit: failure?.exit ?? 0,
    failure,
  });
  if (recovered.outcome === 'left_to_boot') return end('left_to_boot');
  if (recovered.outcome === 'held') return end('busy', busy());
  try {
    const locked = await ports.lock.acquire('recover', null);
    if (locked.kind === 'busy') return end('busy', busy());
    try {
      const stacks = await underLock(ports, options, recovered, locked.lock.inheritFds);
      const down = stacks.flatMap((stack) => stack.down);
      const failures = [
        ...(recovered.failure === null ? [] : [recovered.failure]),
        ...(down.length === 0 ? [] : [declaredDown(down)]),
        ...notInstalled(stacks),
      ];
      const exit = worstExit(failures.map((failure) => failure.exit));
      return { ...end('done'), stacks, exit, failure: failures.find((failure) => failure.exit === exit) ?? null };
    } finally {
      await locked.lock.release();
    }
  } catch (error) {
    return end('failed', asFailure(error));
  }
}

async function underLock(
  ports: ReconcilePorts,
  { declared, bounds }: ReconcileOptions,
  recovered: RecoverEnd,
  inheritFds: readonly number[],
): Promise<StackEnd[]> {
  const [containers, bootId, before] = [await ports.engine.list(), await ports.boot(), await ports.memory.read()];
  const wentDown = wentDownWithGuest(before, bootId);
  const plans = planStarts({
    declared,
    containers,
    untouchable: await untouchable(ports, declared, recovered),
    wentDown,
  });
  const debts = plans.flatMap(({ verdict }) =>
    verdict.kind === 'start' ? verdict.containers.map((container) => toStart(toDebt(container, containers, ''))) : [],
  );
  // One round: what does not start now is looked at again by the next pass, and the lock is free in between.
  const once = { ...bounds, payRetryMs: 0 };
  const { paid, owed } = await payDebts(ports, debts, { bounds: once, inheritFds });
  const running = containers.filter(
    ({ status, project }) => isUp(status) && declared.some(({ name }) => name === project),
  );
  await remember(ports, before, {
    boot_id: bootId,
    running: [...running.map(({ id }) => id), ...paid.map(({ id }) => id)].toSorted(),
    owed: containers
      .filter(({ id, status }) => wentDown.has(id) && !isUp(status) && !isPaid(paid, id))
      .map(({ id }) => id),
  });
  const started = paid.map(({ debt }) => ({ stack: stackOf(debt), container: debt.name }));
  const down = owed.map(({ debt, why }) => ({ stack: stackOf(debt), container: debt.name, why }));
  return await Promise.all(plans.map(async (plan) => await stackEnd(ports, plan, { started, down })));
}

function isUp(status: ContainerState['status']): boolean {
  return status === 'running' || status === 'restarting' || status === 'paused';
}

function isPaid(paid: readonly PaidDebt[], id: string): boolean {
  return paid.some((each) => each.id === id);
}

/** Written only where something has changed: passes come every half minute. */
async function remember({ memory, progress }: ReconcilePorts, before: Memory | null, now: Memory): Promise<void> {
  if (JSON.stringify(before) === JSON.stringify(now)) return;
  try {
    await memory.write(now);
  } catch (error) {
    progress({ kind: 'warning', text: `what runs could not be remembered: ${asFailure(error).message}` });
  }
}

/** Never made anew, should it vanish in this very moment: that is installing. */
function toStart(debt: Debt): Debt {
  return { ...debt, compose_files: [] };
}

async function untouchable(
  ports: ReconcilePorts,
  declared: readonly DeclaredStack[],
  recovered: RecoverEnd,
): Promise<Map<string, string>> {
  const why = new Map<string, string>();
  for (const [stack, reason] of await ports.holds()) why.set(stack, `it is held: ${reason}`);
  const read = await ports.markers.read();
  const marked = read.kind === 'present' ? read.value.debts.map(stackOf) : [];
  for (const stack of [...marked, ...recovered.owed.map((each) => each.stack)])
    why.set(stack, 'recovery owes it a start');
  for (const { stack } of await otherDebtsOwed(ports)) {
    if (stack !== null) why.set(stack, 'an upgrade or a restore of it is under way');
    else
      for (const { name } of declared)
        why.set(name, 'an upgrade or a restore was cut off, of which stack cannot be read');
  }
  return why;
}

async function stackEnd(
  ports: ReconcilePorts,
  { stack, verdict, leftOff }: StackPlan,
  all: { started: readonly { stack: string; container: string }[]; down: readonly OwedContainer[] },
): Promise<StackEnd> {
  const started = all.started.filter((each) => each.stack === stack.name).map(({ container }) => container);
  const down = all.down.filter((each) => each.stack === stack.name);
  const mayHaveCompanions = verdict.kind === 'runs' || (verdict.kind === 'start' && down.length === 0);
  const companions = mayHaveCompanions ? await settleCompanions(ports.units, stack.companions) : [];
  return {
    name: stack.name,
    outcome: verdict.kind === 'start' ? (down.length > 0 ? 'failed' : 'started') : verdict.kind,
    why: 'why' in verdict ? verdict.why : null,
    started,
    down,
    left_off: [...leftOff],
    companions,
  };
}

function busy(): Failure {
  return new Failure('busy', {
    message: 'a backup or an upgrade is under way; it brings its own apps back, and nothing else was touched',
    hint: 'See what it does: felhom-controller status. The next pass looks again.',
  });
}

function declaredDown(down: readonly OwedContainer[]): Failure {
  const { message } = appsDown(down);
  return new Failure('apps_down', {
    message,
    hint: `Look at: docker logs ${down[0]?.container ?? 'NAME'}. To leave it off: felhom-controller stack hold ${down[0]?.stack ?? 'STACK'}`,
  });
}

function notInstalled(stacks: readonly StackEnd[]): Failure[] {
  const missing = stacks.filter(({ outcome }) => outcome === 'not_installed');
  const [first] = missing;
  if (first === undefined) return [];
  return [
    new Failure('below_policy', {
      message: `declared to run, and not installed: ${missing.map(({ name, why }) => `${name} (${why})`).join(', ')}; nothing was made`,
      hint: `In its folder: docker compose up -d. Or take it out of the configuration: stacks.${first.name}.state`,
    }),
  ];
}
