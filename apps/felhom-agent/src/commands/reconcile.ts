import type { Log } from '@felhom/cli/log.ts';
import { parseDuration } from '@felhom/cli/quantity.ts';
import { watchSignals } from '@felhom/cli/signals.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import type { AgentConfig } from '../config.ts';
import { loadAgentConfig } from '../load-config.ts';
import { becomeOwnerOf } from '../own-state.ts';
import { passExitCode } from '../reconcile/exit-code.ts';
import { heartbeat } from '../reconcile/heartbeat.ts';
import type { PassOptions } from '../reconcile/pass.ts';
import { type PassReport, reportText } from '../reconcile/report.ts';
import type { OpenReconcile } from '../reconcile/wiring.ts';
import { andState } from './and-state.ts';
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
  const signals = watchSignals();
  const { config } = await loadAgentConfig(context.flags.config);
  await becomeOwnerOf(config.state);
  const log = await context.openLog();
  const { openReconcile } = await import('../reconcile/wiring.ts');
  const open = await openReconcile(config, {
    log,
    onFatal: (failure) => {
      log.error(failure.message);
      process.exit(failure.exit);
    },
  });
  try {
    const { allowStops, allowMemoryBelowUse, vmids, interval } = flags;
    const lockTimeoutMs =
      duration('--lock-timeout', flags.lockTimeout) ?? (interval === undefined ? config.bounds.lock_timeout : 0);
    const options: PassOptions = {
      limits: open.limits,
      allowStops,
      allowMemoryBelowUse,
      vmids: vmids.length === 0 ? null : vmids,
      lockTimeoutMs,
      stop: signals.stop,
    };
    const intervalMs = duration('--interval', interval);
    if (intervalMs === undefined) await once(context, open, options, flags.detailedExitcode);
    else await loop(context, open, { ...options, intervalMs }, { config, log });
  } finally {
    await open.close();
  }
}

async function once(
  context: CommandContext,
  { ports }: OpenReconcile,
  options: PassOptions,
  detailed: boolean,
): Promise<void> {
  const { runPass } = await import('../reconcile/pass.ts');
  const report = await andState('no guest was changed', async () => await runPass(ports, options));
  context.reporter.result(report, reportText);
  const exit = passExitCode(report, { detailed, stop: options.stop });
  if (exit !== 0) context.setExit(exit);
}

/** Until SIGTERM or Ctrl-C, which let the pass under way come to its end. What failed is told; the loop goes on. */
async function loop(
  context: CommandContext,
  { ports, notifier }: OpenReconcile,
  options: PassOptions & { intervalMs: number },
  { config, log }: { config: AgentConfig; log: Log },
): Promise<void> {
  const { runLoop } = await import('../reconcile/loop.ts');
  const heart = heartbeat(ports.clock, config.bounds.pass + options.intervalMs * 2);
  const alive = notifier.keepAlive(heart.isAlive, options.stop);
  await notifier.ready();
  await runLoop(ports, {
    ...options,
    longestPauseMs: config.bounds.reconcile_backoff,
    gateMs: config.bounds.recovery_gate,
    random: Math.random,
    onBeat: heart.beat,
    onReport: (report) => context.reporter.result(report, (told) => (isQuiet(told) ? '' : reportText(told))),
    onFailure: (failure) => log.error(`no pass could be made: ${failure.message}`),
  });
  await notifier.stopping();
  await alive;
}

function isQuiet({ outcome, recovered, guests }: PassReport): boolean {
  return outcome === 'in_sync' && recovered.length === 0 && guests.every(({ reason }) => reason === null);
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
