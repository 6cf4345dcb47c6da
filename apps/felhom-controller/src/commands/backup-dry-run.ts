import { formatElapsed } from '@felhom/cli/quantity.ts';
import { type Config, loadConfig, locateConfig, quiescePolicy } from '../config.ts';
import type { RunRecord } from '../history/history.ts';
import { stackOf } from '../quiesce/marker.ts';
import { graceMs, planQuiesce, type QuiescePlan, stopOrder } from '../quiesce/plan.ts';
import type { KeptContainer, RunResult } from '../quiesce/result.ts';
import { openEngine, openHistory, openMarkers, openSystem } from '../wiring.ts';
import type { CommandContext } from './context.ts';
import { inStack } from './names.ts';

interface DryRun {
  schema: 'felhom.backup-plan/1';
  stacks: { name: string; containers: string[]; grace_ms: number }[];
  /** Containers by name; those of one step side by side. */
  stop_order: string[][];
  start_order: string[][];
  kept_running: KeptContainer[];
  /** Of the last run that stopped something; null: there was none. */
  expected_downtime_ms: number | null;
  /** Where every container used its whole grace: what it costs at worst until all are down. */
  worst_stop_ms: number;
  /** As the last finished backup told; null: not known before the first one. */
  excluded: RunResult['excluded'] | null;
  owed: string[];
}

/** `backup now --dry-run`: looks at docker and at what is kept here; changes nothing, asks no agent. */
export async function dryRun({ reporter, flags, env }: CommandContext): Promise<void> {
  const { config } = await loadConfig(locateConfig(flags, env));
  const engine = await openEngine(env);
  try {
    await engine.identity();
    const ownContainerId = await (await openSystem()).ownContainerId();
    const owed = await owedStacks(config);
    const plan = planQuiesce({
      containers: await engine.list(),
      policy: quiescePolicy(config),
      ownContainerId,
      owedStacks: new Set(owed),
    });
    const document = describePlan(plan, await openHistory(config).list(20), owed);
    reporter.result(document, () => dryRunText(document));
  } finally {
    await engine.close();
  }
}

async function owedStacks(config: Config): Promise<string[]> {
  const read = await openMarkers(config).read();
  return read.kind === 'present' ? [...new Set(read.value.debts.map(stackOf))] : [];
}

function describePlan(plan: QuiescePlan, runs: readonly RunRecord[], owed: string[]): DryRun {
  const results = runs.flatMap(({ result }) => (result === null ? [] : [result]));
  const order = stopOrder(plan);
  const names = [...new Set(plan.stop.map(stackOf))].toSorted();
  return {
    schema: 'felhom.backup-plan/1',
    stacks: names.map((name) => {
      const members = plan.stop.filter((container) => stackOf(container) === name);
      return {
        name,
        containers: members.map((member) => member.name).toSorted(),
        grace_ms: Math.max(...members.map(graceMs)),
      };
    }),
    stop_order: order,
    start_order: order.toReversed(),
    kept_running: plan.kept,
    expected_downtime_ms: results.find(({ downtime_ms }) => downtime_ms !== null)?.downtime_ms ?? null,
    worst_stop_ms: order.reduce((total, step) => total + worstOf(step, plan), 0),
    excluded: results.find(({ outcome }) => outcome === 'done')?.excluded ?? null,
    owed,
  };
}

function worstOf(step: readonly string[], plan: QuiescePlan): number {
  return Math.max(0, ...plan.stop.filter(({ name }) => step.includes(name)).map(graceMs));
}

function dryRunText(plan: DryRun): string {
  const row = (label: string, text: string): string => `  ${label.padEnd(19)}${text}`;
  const lines = [
    plan.stacks.length === 0 ? 'nothing would be stopped: no stack runs' : 'would be stopped, once the host is ready:',
  ];
  for (const { name, containers } of plan.stacks)
    lines.push(row(name, containers.map((each) => inStack(name, each)).join(' · ')));
  for (const [index, step] of plan.stop_order.entries())
    lines.push(row(index === 0 ? 'stop order' : '', `${index + 1}. ${step.join(' · ')}`));
  if (plan.stacks.length > 0) {
    const before =
      plan.expected_downtime_ms === null
        ? 'not known before the first run'
        : `${formatElapsed(plan.expected_downtime_ms)}, as last time`;
    lines.push(
      row('apps down', `${before}; to stop takes at most ${formatElapsed(plan.worst_stop_ms)} (grace of each)`),
    );
  }
  for (const { stack, container, why } of plan.kept_running)
    lines.push(row('keeps running', `${inStack(stack, container)} (${why})`));
  for (const stack of plan.owed) lines.push(row('owed a start', `${stack}: brought back first`));
  if (plan.excluded === null) lines.push(row('not in the backup', 'the host tells with the first backup'));
  else
    lines.push(
      row(
        'not in the backup',
        plan.excluded.map(({ mount, why }) => `${mount} (${why})`).join(' · ') || 'nothing is left out',
      ),
    );
  return lines.join('\n');
}
