import { formatDuration } from '@felhom/cli/quantity.ts';
import { watchSignals } from '@felhom/cli/signals.ts';
import { asFailure } from '@felhom/kernel/failure.ts';
import { noAgent } from '../adapters/no-agent.ts';
import { declaredStacks, loadConfig, locateConfig } from '../config.ts';
import { quiesceBounds } from '../config-bounds.ts';
import { type ReconcileEnd, type ReconcilePorts, reconcileStacks, type StackEnd } from '../stacks/reconcile.ts';
import { clock, openAgent, openReconcile } from '../wiring.ts';
import type { CommandContext } from './context.ts';

/** The share of an interval by which passes of many guests are spread. */
const jitter = 0.1;
const longestPauseMs = 15 * 60_000;

/**
 * `reconcile`: one pass, or one after the other at `intervalMs`. A pass that could not do its work is followed by a
 * pause that doubles. SIGTERM ends between two passes at once, and within one after it.
 */
export async function reconcileCommand(
  context: CommandContext,
  { intervalMs }: { intervalMs: number | null },
): Promise<void> {
  const loaded = await loadConfig(locateConfig(context.flags, context.env));
  const { config, file } = loaded;
  const log = await context.openLog();
  const signals = watchSignals();
  // Recovery tells the agent what became of a dead run; starting apps needs nobody.
  const agent = await openAgent(config, (text) => log.warn(text)).catch((error: unknown) =>
    noAgent(asFailure(error).message),
  );
  const opened = await openReconcile({
    config,
    configFile: file,
    env: context.env,
    log,
    progress: (event) => void (event.kind === 'warning' && log.warn(event.text)),
    agent,
  });
  const pass = async (ports: ReconcilePorts): Promise<ReconcileEnd> =>
    await reconcileStacks(ports, {
      declared: declaredStacks(config),
      bounds: quiesceBounds(config.bounds),
      stop: signals.stop,
    });
  try {
    let failures = 0;
    for (;;) {
      const end = await pass(opened.ports);
      tell(context, end, intervalMs === null);
      if (intervalMs === null) return;
      failures = end.outcome === 'done' && end.exit !== 20 ? 0 : failures + 1;
      const pauseMs = Math.min(intervalMs * 2 ** Math.min(failures, 10), Math.max(longestPauseMs, intervalMs));
      if (failures > 0) log.warn(`the next pass comes in ${formatDuration(pauseMs)}`);
      await clock.sleep(pauseMs * (1 + jitter * (2 * Math.random() - 1)), signals.stop);
      if (signals.stop.aborted) return;
    }
  } finally {
    await opened.close();
    await agent.close();
    signals.dispose();
  }
}

function tell(context: CommandContext, { failure, ...end }: ReconcileEnd, isOnly: boolean): void {
  context.reporter.result({ schema: 'felhom.stack-reconcile/1', ...end, error: failure }, () =>
    text(end.stacks, isOnly),
  );
  if (failure !== null) context.reporter.failure(failure);
  if (isOnly) context.setExit(end.exit);
}

/** What a person reads; in a loop only what was done or is amiss. */
function text(stacks: readonly StackEnd[], isOnly: boolean): string {
  const lines = stacks.flatMap((stack) => {
    const { name, outcome, why, started, down, left_off: leftOff, companions } = stack;
    const changed = companions.filter((each) => each.outcome !== 'fine');
    if (!isOnly && outcome === 'runs' && changed.length === 0) return [];
    const words = {
      runs: 'runs',
      started: `started ${started.join(', ')}`,
      left_alone: `left alone: ${why ?? ''}`,
      not_installed: `not installed: ${why ?? ''}`,
      failed: `DOWN: ${down.map((each) => `${each.container} (${each.why})`).join(', ')}`,
    };
    return [
      `${name}: ${words[outcome]}`,
      ...leftOff.map((each) => `  ${each.container} stays off: ${each.why}`),
      ...changed.map(
        (each) => `  ${each.unit}: ${each.outcome.replaceAll('_', ' ')}${each.why === null ? '' : `, ${each.why}`}`,
      ),
    ];
  });
  return lines.join('\n') || (isOnly ? 'no stack is declared to run (stacks.NAME.state: running)' : '');
}
