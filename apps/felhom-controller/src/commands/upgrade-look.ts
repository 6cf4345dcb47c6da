import { formatElapsed } from '@felhom/cli/quantity.ts';
import { checkStack } from '../upgrade/check.ts';
import type { UpgradePorts } from '../upgrade/ports.ts';
import type { CommandContext } from './context.ts';
import { checkedResult, resultText, type UpgradeResult } from './upgrade-result.ts';
import { type UpgradeWork, withUpgrade } from './with-upgrade.ts';

/** `upgrade check STACK` and `upgrade plan STACK`: looks only. `check` says in one line whether there is something. */
export async function upgradeCheck(
  context: CommandContext,
  stack: string,
  { pull, force }: { pull: boolean; force: boolean },
): Promise<void> {
  await withUpgrade(context, async (work) => {
    const result = await lookAt(work, stack, { pull, force });
    context.reporter.result(result, resultText);
  });
}

async function lookAt(
  { ports, settings }: UpgradeWork,
  stack: string,
  { pull, force }: { pull: boolean; force: boolean },
): Promise<UpgradeResult & { held_back: string | null }> {
  const checked = await checkStack(ports, settings, stack, { askRegistry: pull, force });
  const result = checkedResult(stack, checked);
  const held = checked.heldBack;
  const bad =
    held === null
      ? []
      : [`held back since ${held.at}: ${held.why}; to try it again: felhom-controller upgrade allow ${stack}`];
  return {
    ...result,
    outcome: checked.plan.changes.length === 0 ? 'up_to_date' : 'planned',
    warnings: [...result.warnings, ...bad],
    held_back: held?.at ?? null,
  };
}

/** `upgrade status [STACK]`: where each attempt stands, by what lies on disk. */
export async function upgradeStatus(context: CommandContext, stack: string | null): Promise<void> {
  await withUpgrade(context, async ({ ports }) => {
    const names = stack === null ? await ports.memory.stacks() : [stack];
    const stacks: StandingShown[] = [];
    for (const name of names) stacks.push(await standingOf(ports, name));
    context.reporter.result({ schema: 'felhom.upgrade-status/1', stacks }, () =>
      stacks.length === 0 ? 'nothing was ever upgraded here' : stacks.map(standingText).join('\n'),
    );
  });
}

type StandingShown = Awaited<ReturnType<typeof standingOf>>;

async function standingOf({ machine, memory, debts }: UpgradePorts, stack: string) {
  const [now, bad, read] = [await machine(stack).read(), await memory.knownBad(stack), await debts.read()];
  const owed = read.kind === 'present' && read.value.stack === stack ? read.value : null;
  return {
    stack,
    phase: now?.phase ?? 'idle',
    target: now?.target ?? null,
    attempts: now?.attempts ?? 0,
    failures: now?.checkFailures ?? 0,
    last_error: now?.lastError ?? null,
    started_at: now === null ? null : new Date(now.startedAtMs).toISOString(),
    updated_at: now === null ? null : new Date(now.updatedAtMs).toISOString(),
    last_success_at: now?.data.last_success_at ?? null,
    waits_for_person: now?.data.waits_for_person ?? false,
    /** In the present tense: this stack is between two versions. */
    debt: owed === null ? null : { phase: owed.phase, deadline_at: new Date(owed.deadline_at_ms).toISOString() },
    changes: now?.data.changes ?? [],
    gates: now?.data.gates ?? [],
    rungs: now?.data.rungs ?? [],
    snapshot_id: now?.data.snapshot_id ?? null,
    not_rolled_back: now?.data.not_rolled_back ?? [],
    held_back: bad.map(({ at, why, image_ids }) => ({ at, why, image_ids })),
    history: now?.history.map(({ phase, atMs }) => ({ phase, at: new Date(atMs).toISOString() })) ?? [],
  };
}

function standingText(seen: StandingShown): string {
  const row = (label: string, text: string): string => `  ${label.padEnd(19)}${text}`;
  const when =
    seen.updated_at === null ? '' : `, ${formatElapsed(Math.max(0, Date.now() - Date.parse(seen.updated_at)))} ago`;
  const lines = [`${seen.stack}: ${seen.phase}${when}`];
  for (const { service, from, to } of seen.changes)
    lines.push(row(service, `${from ?? 'nothing'} -> ${to ?? 'nothing'}`));
  if (seen.last_error !== null) lines.push(row('last error', seen.last_error));
  if (seen.attempts > 1) lines.push(row('attempts', String(seen.attempts)));
  for (const { name, result, detail } of seen.rungs) lines.push(row(name, `${result}: ${detail}`));
  for (const { at, why } of seen.held_back) lines.push(row('held back', `since ${at}: ${why}`));
  if (seen.debt !== null)
    lines.push(row('UNDER WAY', `${seen.debt.phase}, until ${seen.debt.deadline_at} at the latest`));
  if (seen.waits_for_person)
    lines.push(row('WAITS FOR YOU', `upgrade rollback ${seen.stack}, or upgrade healthcheck ${seen.stack} to keep it`));
  return lines.join('\n');
}
