import type { Log } from '@felhom/cli/log.ts';
import { type SignalWatch, watchSignals } from '@felhom/cli/signals.ts';
import type { AgentApi } from '@felhom/guest-api/agent-api.ts';
import type { DueAnswer } from '@felhom/guest-api/schema.ts';
import { asFailure, Failure } from '@felhom/kernel/failure.ts';
import { type LoadedConfig, loadExistingConfig, locateConfig } from '../config.ts';
import { completeRuns } from '../history/complete-runs.ts';
import { namesIn } from '../state/quick-files.ts';
import { clock, debtsFolder, openAgent, openHistory } from '../wiring.ts';
import { dueText } from './backup-due.ts';
import type { CommandContext } from './context.ts';
import { runOneBackup } from './run-backup.ts';
import { settleDebts } from './settle.ts';

/*
 * Invariants:
 * - A call of the agent is answered by one run, under the run lock: a backup by hand that holds it makes
 *   ours busy, which is no failure.
 * - A round that failed is followed by a pause that doubles; one that went well resets it.
 * - SIGTERM between two runs ends at once; within a run the run ends first, with its own exit code.
 */

interface Watch {
  context: CommandContext;
  loaded: LoadedConfig;
  log: Log;
  signals: SignalWatch;
  agent: AgentApi;
  /** One round, which says what it found. */
  once: boolean;
}

/** `backup watch`, until a signal; with `once` for one round. */
export async function watch(context: CommandContext, { once }: { once: boolean }): Promise<void> {
  const loaded = await loadExistingConfig(locateConfig(context.flags, context.env));
  const log = await context.openLog();
  const signals = watchSignals();
  const agent = await openAgent(loaded.config, (text) => log.warn(text));
  try {
    const watching = { context, loaded, log, signals, agent, once };
    await settleLeftDebts(watching);
    context.setExit(once ? await oneRound(watching) : await everyRound(watching));
  } finally {
    await agent.close();
    signals.dispose();
  }
}

/** What a dead run left behind comes back before anything new is asked for. */
async function settleLeftDebts({ context, loaded, log, signals, agent }: Watch): Promise<void> {
  try {
    // Every kind of debt is a file in this folder.
    if (namesIn(debtsFolder(loaded.config.state_dir)).length === 0) return;
    const end = await settleDebts({ context, loaded, log, stop: signals.stop, agent, forgive: null });
    if (end.failure !== null) log.error(end.failure.message, { hint: end.failure.hint });
  } catch (error) {
    // The timer tries again within a minute, and so does the next run; watching goes on.
    log.error('what an earlier run left down could not be settled yet', { error });
  }
}

/** Rounds until a signal. The exit code is that of the run that the signal met, else 0. */
async function everyRound(watching: Watch): Promise<number> {
  const { loaded, log, signals } = watching;
  const { watch_backoff: first, watch_backoff_limit: longest } = loaded.config.bounds;
  let pauseMs = first;
  let told = '';
  while (!signals.stop.aborted) {
    try {
      const exit = await oneRound(watching);
      if (signals.stop.aborted) return exit;
      told = '';
      if (exit === 0 || exit === 5) {
        pauseMs = first;
        continue;
      }
    } catch (error) {
      if (signals.stop.aborted) return 0;
      const failure = asFailure(error);
      if (failure.code === 'bug') throw failure;
      // The same trouble is told once, not in every round.
      if (failure.message !== told) log.warn(failure.message, { hint: failure.hint });
      told = failure.message;
    }
    await clock.sleep(pauseMs * (0.9 + Math.random() * 0.2), signals.stop);
    pauseMs = Math.min(pauseMs * 2, longest);
  }
  return 0;
}

/** Waits for a call, and answers it. 0 when none came. */
async function oneRound(watching: Watch): Promise<number> {
  const { context, loaded, log, signals, agent } = watching;
  const due = await waitForCall(watching, agent);
  if (due === null) return 0;
  await completeRuns(openHistory(loaded.config), agent, (text) => log.warn(text));
  if (!isCall(due)) {
    if (watching.once) context.reporter.result({ schema: 'felhom.due/1', ...due }, () => dueText(due));
    return 0;
  }
  log.info('a backup is due', { reason: due.reason, ...(due.job_id === undefined ? {} : { job: due.job_id }) });
  const jobId = due.job_id ?? null;
  const asked = { storage: null, jobId, onlyIfDue: jobId === null, wait: true, guest: due.guest };
  const end = await runOneBackup(context, { loaded, log, signals, ...asked });
  return end.exit;
}

function isCall(due: DueAnswer): boolean {
  return due.due || due.job_id !== undefined;
}

/** One long poll: what the agent says, or null when we are to end. */
async function waitForCall({ loaded, signals }: Watch, agent: AgentApi): Promise<DueAnswer | null> {
  const waitSeconds = Math.max(1, Math.min(60, Math.floor(loaded.config.bounds.watch_poll / 1_000)));
  try {
    const due = await agent.due({ waitSeconds, signal: signals.stop });
    return due;
  } catch (error) {
    if (signals.stop.aborted && !(error instanceof Failure)) return null;
    throw error;
  }
}
