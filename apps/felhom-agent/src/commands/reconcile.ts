import { parseDuration } from '@felhom/cli/quantity.ts';
import { watchSignals } from '@felhom/cli/signals.ts';
import { Failure, failures } from '@felhom/kernel/failure.ts';
import { loadConfig } from '../load-config.ts';
import { type PassReport, reportText } from '../reconcile/report.ts';
import type { CommandContext } from './context.ts';
import type { PlanFlags } from './plan.ts';

export interface ReconcileFlags extends PlanFlags {
  once: boolean;
  /** `30s`; undefined: no loop. */
  interval: string | undefined;
  dryRun: boolean;
  lockTimeout: string | undefined;
}

/** `reconcile`: one pass, a loop of passes, or what a pass would do. */
export async function reconcileCommand(context: CommandContext, flags: ReconcileFlags): Promise<void> {
  const ways = [flags.once, flags.interval !== undefined, flags.dryRun].filter(Boolean).length;
  if (ways !== 1)
    throw new Failure('usage', {
      message: 'say which: --once, --interval 30s or --dry-run; nothing was looked at and nothing was changed',
      hint: 'felhom-agent reconcile --once\nfelhom-agent reconcile --dry-run shows what a pass would do.',
    });
  if (flags.dryRun) {
    const { planCommand } = await import('./plan.ts');
    return await planCommand(context, flags);
  }
  await once(context, flags);
}

async function once(context: CommandContext, flags: ReconcileFlags): Promise<void> {
  const signals = watchSignals();
  const { config } = await loadConfig(context.flags.config);
  const lockTimeoutMs = duration('--lock-timeout', flags.lockTimeout) ?? config.bounds.lock_timeout;
  const log = await context.openLog();
  const { openReconcile } = await import('../reconcile/wiring.ts');
  const { runPass } = await import('../reconcile/pass.ts');
  const { ports, limits, close } = await openReconcile(config, {
    log,
    onFatal: (failure) => {
      log.error(failure.message);
      process.exit(failure.exit);
    },
  });
  try {
    const { allowStops, allowMemoryBelowUse, vmids } = flags;
    const report = await runPass(ports, {
      limits,
      allowStops,
      allowMemoryBelowUse,
      vmids: vmids.length === 0 ? null : vmids,
      lockTimeoutMs,
      stop: signals.stop,
    });
    context.reporter.result(report, reportText);
    const exit = exitOf(report, flags.detailedExitcode);
    if (exit !== 0) context.setExit(exit);
  } finally {
    await close();
  }
}

/** 13: nothing was done, the plan stops too much. 3: a guest failed. 4: somebody is not as declared yet, where that was asked for. */
export function exitOf(report: PassReport, detailed: boolean): number {
  if (report.outcome === 'refused') return failures.policy_refused.exit;
  if (report.outcome === 'failed') return failures.operation_failed.exit;
  return detailed && report.counts.deferred > 0 ? failures.drift.exit : 0;
}

function duration(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = parseDuration(text);
  if (ms !== undefined) return ms;
  throw new Failure('usage', {
    message: `${flag} ${text} is no duration; nothing was changed`,
    hint: `Give one such as 30s, 2m or 1h30m: ${flag} 2m`,
  });
}
