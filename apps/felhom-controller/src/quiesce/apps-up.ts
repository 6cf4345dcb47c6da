import { type AppsDown, debtHistories } from './apps-down.ts';
import { type Marker, type OwedCommand, stackOf } from './marker.ts';
import { type PaidDebt, payDebts } from './pay.ts';
import { payCommands } from './pay-commands.ts';
import type { StartedGuard } from './ports.ts';
import type { OwedContainer } from './result.ts';
import { type Run, tellDeadline, words } from './run.ts';

/** How the resume went. */
export interface AppsUp {
  paid: PaidDebt[];
  owed: OwedContainer[];
  /** Wall clock. */
  resumeBeganMs: number;
  /** Monotonic, by stack: when its last container was seen running. */
  upAtMs: ReadonlyMap<string, number>;
}

export interface ResumeInput {
  run: Run;
  down: AppsDown;
  guard: StartedGuard;
  /** The marker as it stands: with this run's debts and those of earlier runs. */
  earlier: Marker | null;
}

/** Brings back what this run stopped, then erases the marker, or leaves in it what is still owed. */
export async function resumeApps({ run, down, guard, earlier }: ResumeInput): Promise<AppsUp> {
  const { clock, engine } = run.ports;
  const resumeBeganMs = clock.nowMs();
  const upAtMs = new Map<string, number>();
  const open = countByStack(down);
  run.mark('starting');
  const { paid, owed } = await payDebts({ clock, engine }, down.debts, {
    bounds: run.options.bounds,
    inheritFds: run.lock.inheritFds,
    known: debtHistories(down),
    onPaid: (debt) => {
      const stack = stackOf(debt);
      upAtMs.set(stack, clock.monotonicMs());
      const left = (open.get(stack) ?? 0) - 1;
      open.set(stack, left);
      if (left === 0) run.mark('running', stack);
    },
    onTrouble: (debt, why) => run.warn(`${debt.name} is not running yet: ${why}`),
  });
  const owedStacks = new Set(owed.map(({ debt }) => stackOf(debt)));
  const due = down.plan.afterStart.filter(({ stack }) => !owedStacks.has(stack));
  const commands = await payCommands({ clock, engine }, due, run.options.bounds);
  const left = {
    debts: [...(earlier?.debts ?? []), ...owed.map(({ debt }) => debt)],
    after_start: [
      ...(earlier?.after_start ?? []),
      ...commands.owed.map(({ command }) => command),
      ...down.plan.afterStart.filter(({ stack }) => owedStacks.has(stack)),
    ],
  };
  await settleMarker(run, guard, left);
  return {
    paid,
    owed: [
      ...owed.map(({ debt, why }) => ({ stack: stackOf(debt), container: debt.name, why })),
      ...commands.owed.map(({ command, why }) => ({ stack: command.stack, container: command.service, why })),
    ],
    resumeBeganMs,
    upAtMs,
  };
}

function countByStack({ debts }: AppsDown): Map<string, number> {
  const open = new Map<string, number>();
  for (const debt of debts) open.set(stackOf(debt), (open.get(stackOf(debt)) ?? 0) + 1);
  return open;
}

/** Everything that is needed is up by now: a disk that cannot be written only leaves a marker that is settled again. */
async function settleMarker(
  run: Run,
  guard: StartedGuard,
  left: { debts: Marker['debts']; after_start: OwedCommand[] },
): Promise<void> {
  const { markers } = run.ports;
  try {
    if (left.debts.length === 0 && left.after_start.length === 0) {
      await markers.erase();
      guard.disarm();
    } else {
      const read = await markers.read();
      if (read.kind === 'present') await markers.write({ ...read.value, ...left });
    }
  } catch (error) {
    run.warn(`the marker could not be updated (${words(error)}): recovery will look at these apps once more`);
    if (left.debts.length === 0) guard.disarm();
  }
  await tellDeadline(run, null);
}
