import { asFailure, Failure, worstExit } from '@felhom/kernel/failure.ts';
import { type ActivateEnd, activate } from '../upgrade/activate.ts';
import { checkHealth, previousVersion, rollBackByHand } from '../upgrade/by-hand.ts';
import { type Checked, checkStack, refuseWhereClosed } from '../upgrade/check.ts';
import { dueStacks } from '../upgrade/due-stacks.ts';
import { requireStack } from '../upgrade/look.ts';
import { stage } from '../upgrade/stage.ts';
import type { CommandContext } from './context.ts';
import { checkedResult, emptyResult, resultText, type UpgradeResult } from './upgrade-result.ts';
import { inTurn, settleFirst, type UpgradeWork, withUpgrade } from './with-upgrade.ts';

export interface ActOptions {
  force: boolean;
  /** Ask registries for newer images. */
  pull: boolean;
  /** Null: as the configuration says. */
  rollbackAfter: number | null;
}

/** `upgrade apply STACK` */
export async function upgradeApply(context: CommandContext, stack: string, options: ActOptions): Promise<void> {
  await withUpgrade(context, async (work) => {
    await settleFirst(work);
    const result = await inTurn(work, async () => applyOne(work, stack, options));
    // Where there is no such stack, nothing can be said of its versions.
    if (result.error?.code === 'not_found') throw result.error;
    tell(context, result);
  });
}

/** `upgrade apply --all`: one after the other; one that fails keeps none of the others back. */
export async function upgradeApplyAll(context: CommandContext, options: ActOptions & { due: boolean }): Promise<void> {
  await withUpgrade(context, async (work) => {
    await settleFirst(work);
    const results = await inTurn(work, async () => {
      const ended: UpgradeResult[] = [];
      for (const { stack, why } of await dueStacks(work.ports, work.settings, { due: options.due })) {
        const end = why === null ? await applyOne(work, stack, options) : await skipped(work, stack, why);
        ended.push(end);
        if (end.outcome === 'owed' || end.outcome === 'left_to_boot' || work.stop.aborted) break;
      }
      return ended;
    });
    context.reporter.result({ schema: 'felhom.upgrades/1', upgrades: results }, () =>
      results.length === 0 ? 'there is no stack to upgrade' : results.map(resultText).join('\n'),
    );
    context.setExit(
      worstExit(results.map(({ error }) => (error === null || isQuiet(error, options) ? 0 : error.exit))),
    );
  });
}

/** A timer is not to fail over and over for what a person has been told of once. */
function isQuiet(error: Failure, { due }: { due: boolean }): boolean {
  return due && (error.code === 'held_back' || error.code === 'policy_refused');
}

/** Left alone, but looked at: any look keeps the Compose files of what runs, before a person edits them in place. */
async function skipped({ ports, settings }: UpgradeWork, stack: string, why: string): Promise<UpgradeResult> {
  await checkStack(ports, settings, stack, { askRegistry: false, force: false }).catch(() => undefined); // Nobody asked.
  return { ...emptyResult(stack), outcome: 'skipped', warnings: [why] };
}

/** Never throws for this stack: what happened is in the result. */
async function applyOne(work: UpgradeWork, stack: string, options: ActOptions): Promise<UpgradeResult> {
  const { ports, settings, stop } = work;
  const seen = { timeline: work.timeline.length, warnings: work.warnings.length };
  try {
    const checked = await stage(ports, settings, { stack, force: options.force, askRegistry: options.pull, stop });
    if (checked === null) return emptyResult(stack);
    sayBefore(work, checked);
    return await carryOut(work, checked, options, seen);
  } catch (error) {
    const failure = asFailure(error);
    if (failure.code === 'bug') throw failure;
    const told = work.warnings.slice(seen.warnings);
    return { ...emptyResult(stack), outcome: 'failed', warnings: told, error: failure };
  }
}

/** What will not come back is said before anything stops. */
function sayBefore({ context, warn }: UpgradeWork, { data, gates, plan }: Checked): void {
  for (const { what, why } of data.leftOut) context.reporter.say(`${plan.stack}: not rolled back: ${what} (${why})`);
  for (const { name, why } of gates.filter(({ state }) => state === 'forced'))
    warn(`--force goes past ${name}: ${why ?? ''}`);
}

async function carryOut(
  work: UpgradeWork,
  checked: Checked,
  options: ActOptions,
  seen: { timeline: number; warnings: number },
): Promise<UpgradeResult> {
  const { ports, settings, stop, warn } = work;
  const { stack } = checked.plan;
  const rollbackAfter = options.rollbackAfter ?? settings.policyOf(stack).rollbackAfter;
  const end = await activate(ports, settings, checked, { rollbackAfter, stop, warn });
  const standing = await ports.machine(stack).read();
  const timeline = work.timeline.slice(seen.timeline);
  return {
    ...checkedResult(stack, checked),
    ...endOf(end),
    rungs: standing?.data.rungs ?? [],
    downtime_ms: downtimeOf(timeline),
    timeline,
    warnings: work.warnings.slice(seen.warnings),
  };
}

function endOf({ outcome, owed, failure }: ActivateEnd): Pick<UpgradeResult, 'outcome' | 'owed' | 'error'> {
  return { outcome, owed, error: failure };
}

/** From the first stop to the moment in which the last version was started whole. */
function downtimeOf(timeline: UpgradeResult['timeline']): number | null {
  const from = timeline.find(({ event }) => event === 'stopping')?.at;
  const to = timeline.findLast(
    ({ event }) => event === 'verifying' || event === 'failed' || event === 'rolled back',
  )?.at;
  return from === undefined || to === undefined ? null : Date.parse(to) - Date.parse(from);
}

/** `upgrade stage STACK` */
export async function upgradeStage(context: CommandContext, stack: string, options: ActOptions): Promise<void> {
  await withUpgrade(context, async (work) => {
    await settleFirst(work);
    const { ports, settings, stop } = work;
    const request = { stack, force: options.force, askRegistry: options.pull, stop };
    const checked = await inTurn(work, async () => stage(ports, settings, request));
    const result = checkedResult(stack, checked);
    tell(context, { ...result, outcome: checked === null ? 'up_to_date' : 'staged' });
  });
}

/** `upgrade activate STACK`: what was staged, and nothing else. */
export async function upgradeActivate(context: CommandContext, stack: string, options: ActOptions): Promise<void> {
  await withUpgrade(context, async (work) => {
    await settleFirst(work);
    const result = await inTurn(work, async () => {
      const { ports, settings } = work;
      const staged = await ports.machine(stack).read();
      const checked = await checkStack(ports, settings, stack, { askRegistry: false, force: options.force });
      if (staged?.phase !== 'staged' || staged.target !== checked.plan.target.key) throw notStaged(stack);
      refuseWhereClosed(checked, settings);
      sayBefore(work, checked);
      return await carryOut(work, checked, options, { timeline: 0, warnings: 0 });
    });
    tell(context, result);
  });
}

function notStaged(stack: string): Failure {
  return new Failure('refused', {
    message: `nothing that ${stack} would become now is staged; nothing was stopped`,
    hint: `felhom-controller upgrade stage ${stack}`,
  });
}

/** `upgrade rollback STACK` */
export async function upgradeRollback(
  context: CommandContext,
  stack: string,
  { discard }: { discard: boolean },
): Promise<void> {
  await withUpgrade(context, async (work) => {
    await settleFirst(work);
    const { ports, settings, stop, warn } = work;
    const result = await inTurn(work, async () => {
      const previous = await previousVersion(ports, stack);
      context.reporter.say(
        `${stack}: goes back to ${previous.old.map(({ image_ref }) => image_ref).join(', ')}; what was written since ${new Date(previous.activated_at_ms ?? 0).toISOString()} is ${discard ? 'given up' : 'kept as a snapshot'}`,
      );
      const end = await rollBackByHand(ports, settings, stack, { stop, warn, discard });
      const standing = await ports.machine(stack).read();
      const base = { ...emptyResult(stack), ...endOf(end), rungs: standing?.data.rungs ?? [] };
      // It is what was asked for.
      const error = end.outcome === 'rolled_back' && end.recovered ? null : base.error;
      return { ...base, error, since_snapshot: end.sinceId, timeline: work.timeline, warnings: work.warnings };
    });
    tell(context, result);
  });
}

/** `upgrade healthcheck STACK` */
export async function upgradeHealthcheck(context: CommandContext, stack: string): Promise<void> {
  await withUpgrade(context, async ({ ports, settings, stop, warn }) => {
    const end = await checkHealth(ports, settings, stack, { stop, warn });
    context.reporter.result(
      {
        schema: 'felhom.health/1',
        stack,
        healthy: end.why === null,
        why: end.why,
        rungs: end.rungs,
        committed: end.committed,
      },
      () => {
        const rungs = end.rungs.map(({ name, result, detail }) => `  ${name.padEnd(19)}${result}: ${detail}`);
        const title = end.why === null ? 'healthy' : `NOT healthy: ${end.why}`;
        return [`${stack}: ${title}${end.committed ? '; the upgrade is kept' : ''}`, ...rungs].join('\n');
      },
    );
    if (end.why !== null) context.setExit(3);
  });
}

/** `upgrade allow STACK` */
export async function upgradeAllow(context: CommandContext, stack: string): Promise<void> {
  await withUpgrade(context, async (work) => {
    const allowed = await inTurn(work, async () => work.ports.memory.allow(stack));
    // A name that was mistyped is not to look like one that is free.
    if (allowed === 0 && (await work.ports.machine(stack).read()) === null)
      await requireStack(work.ports.engine, stack);
    context.reporter.result({ schema: 'felhom.upgrade-allow/1', stack, allowed }, () =>
      allowed === 0 ? `${stack}: nothing was held back` : `${stack}: ${allowed} target(s) may be tried again`,
    );
  });
}

function tell({ reporter, setExit }: CommandContext, result: UpgradeResult): void {
  reporter.result(result, resultText);
  if (result.error === null) return;
  reporter.failure(result.error);
  setExit(result.error.exit);
}
