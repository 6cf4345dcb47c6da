import { chooseGuests } from '../desired/choose.ts';
import { loadAgentConfig } from '../load-config.ts';
import { becomeOwnerOf } from '../own-state.ts';
import type { Plan } from '../reconcile/model.ts';
import { planGuests } from '../reconcile/plan.ts';
import { hasDrift, planDocument } from '../reconcile/plan-document.ts';
import { planText } from '../reconcile/print-plan.ts';
import { leavesAGuestOut } from '../reconcile/tell-problem.ts';
import { andState } from './and-state.ts';
import type { CommandContext } from './context.ts';

export interface PlanFlags {
  /** Only these guests; all that are declared when empty. */
  vmids: readonly number[];
  allowStops: number | null;
  allowMemoryBelowUse: boolean;
  detailedExitcode: boolean;
}

/** `plan`, and `reconcile --dry-run`: shows what a pass would do, and does nothing. */
export async function planCommand(context: CommandContext, flags: PlanFlags): Promise<void> {
  const { config } = await loadAgentConfig(context.flags.config);
  await becomeOwnerOf(config.state);
  const { openPlanning } = await import('../reconcile/wiring.ts');
  const { desired, look, close } = await openPlanning(config);
  try {
    const chosen = chooseGuests(await desired.read(), flags.vmids);
    const { actual, openJobs, nowMs } = await andState('guests stay as they are', async () => await look(chosen));
    const plan = planGuests(chosen, actual, {
      allowStops: flags.allowStops,
      allowMemoryBelowUse: flags.allowMemoryBelowUse,
      openJobs,
      nowMs,
      stuckAfterMs: config.bounds.stuck,
    });
    context.reporter.result(planDocument(plan), () => planText(plan));
    const exit = exitOf(plan, flags.detailedExitcode);
    if (exit !== 0) context.setExit(exit);
  } finally {
    await close();
  }
}

/** 13: it stops too much to be done. 3: a guest cannot be had as declared. 4: something is to be done, where that was asked for. */
function exitOf(plan: Plan, detailed: boolean): number {
  if (plan.refused !== null) return 13;
  if (plan.problems.some(leavesAGuestOut) || plan.guests.some((guest) => guest.standing === 'failed')) return 3;
  return detailed && hasDrift(plan) ? 4 : 0;
}
