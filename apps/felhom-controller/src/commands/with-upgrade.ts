import type { Log } from '@felhom/cli/log.ts';
import { createProgress } from '@felhom/cli/progress.ts';
import { watchSignals } from '@felhom/cli/signals.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { noAgent } from '../adapters/no-agent.ts';
import { type LoadedConfig, loadConfig, locateConfig } from '../config.ts';
import type { RecoverEnd } from '../quiesce/recover.ts';
import { takeRunLock } from '../quiesce/take-run-lock.ts';
import type { UpgradeEvent, UpgradePorts } from '../upgrade/ports.ts';
import type { UpgradeSettings } from '../upgrade/run.ts';
import { openUpgrade } from '../upgrade/wiring.ts';
import type { CommandContext } from './context.ts';
import { settleDebts } from './settle.ts';

/** What a command over upgrades works with. */
export interface UpgradeWork {
  context: CommandContext;
  loaded: LoadedConfig;
  ports: UpgradePorts;
  settings: UpgradeSettings;
  stop: AbortSignal;
  /** What happened, in order. */
  timeline: TimelineEntry[];
  warnings: string[];
  warn(text: string): void;
}

export interface TimelineEntry {
  at: string;
  event: string;
}

/** Opens what upgrades need, and closes it whatever happens. */
export async function withUpgrade<T>(context: CommandContext, work: (opened: UpgradeWork) => Promise<T>): Promise<T> {
  const loaded = await loadConfig(locateConfig(context.flags, context.env));
  const log = await context.openLog();
  const signals = watchSignals({
    onRepeat: () => context.reporter.say('The stack is brought to a good end first; this cannot be hurried.'),
  });
  const { reporter } = context;
  const progress = createProgress(reporter.display, { interactive: reporter.interactive, gone: signals.displayGone });
  const timeline: TimelineEntry[] = [];
  const warnings: string[] = [];
  const show = (event: UpgradeEvent): void => {
    if (event.kind === 'step') timeline.push({ at: new Date(event.atMs).toISOString(), event: event.event });
    if (event.kind === 'warning') warnings.push(event.text);
    if (reporter.interactive) {
      if (event.kind === 'warning') progress.above(() => reporter.say(`warning: ${event.text}`));
      else progress.show(wordsOf(event));
    } else logEvent(log, event);
  };
  const opened = await openUpgrade({
    config: loaded.config,
    configFile: loaded.file,
    env: context.env,
    progress: show,
  });
  const warn = (text: string): void => show({ kind: 'warning', text });
  try {
    return await work({ context, loaded, ...opened, stop: signals.stop, timeline, warnings, warn });
  } finally {
    progress.end();
    await opened.close();
    signals.dispose();
  }
}

function wordsOf(event: UpgradeEvent): string {
  return event.kind === 'step' ? `${event.stack}: ${event.event}` : event.text;
}

function logEvent(log: Log, event: UpgradeEvent): void {
  if (event.kind === 'warning') log.warn(event.text);
  else log.info(wordsOf(event));
}

/**
 * Before anything is begun: whatever an earlier run owes is settled, by the one recovery. @throws Failure `busy` while
 * another run is under way, and what keeps apps down; nothing was stopped by us.
 */
export async function settleFirst({ context, loaded, ports, settings, stop }: UpgradeWork): Promise<void> {
  const log = await context.openLog();
  const agent = noAgent('an upgrade needs none');
  const settle = async (): Promise<RecoverEnd> => settleDebts({ context, loaded, log, stop, agent, forgive: null });
  let end = await settle();
  if (end.outcome === 'held') {
    const patienceMs = settings.quiesce.lockPatienceMs;
    const lock = await takeRunLock(ports, { what: 'upgrade', runId: ports.system.newRunId(), patienceMs, stop });
    await lock.release();
    end = await settle();
  }
  if (end.outcome === 'held') {
    throw new Failure('busy', {
      message: 'another run is under way; nothing was stopped',
      hint: 'Wait for it to end, or see what it does: felhom-controller status',
    });
  }
  if (end.outcome === 'left_to_boot') {
    throw new Failure('busy', {
      message: 'the guest is shutting down; nothing was stopped',
      hint: 'Wait for its next boot.',
    });
  }
  if (end.failure !== null && end.failure.code !== 'rolled_back') throw end.failure;
}

/** Takes the turn over upgrades for as long as `work` lasts. @throws Failure `busy`. */
export async function inTurn<T>({ ports }: UpgradeWork, work: () => Promise<T>): Promise<T> {
  const turn = await ports.turn.take();
  if (turn === null) {
    throw new Failure('busy', {
      message: 'another upgrade is under way; nothing was stopped',
      hint: 'Wait for it to end, or see what it does: felhom-controller upgrade status',
    });
  }
  try {
    return await work();
  } finally {
    await turn.release();
  }
}
