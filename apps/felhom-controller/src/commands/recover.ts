import { watchSignals } from '@felhom/cli/signals.ts';
import type { AgentApi } from '@felhom/guest-api/agent-api.ts';
import { asFailure } from '@felhom/kernel/failure.ts';
import { noAgent } from '../adapters/no-agent.ts';
import { type Config, loadConfigForRecovery, locateConfig } from '../config.ts';
import { completeRuns } from '../history/complete-runs.ts';
import type { RecoverEnd } from '../quiesce/recover.ts';
import { openAgent, openHistory } from '../wiring.ts';
import type { CommandContext } from './context.ts';
import { inStack } from './names.ts';
import { settleDebts } from './settle.ts';

/** `recover`: works without an agent and with a broken configuration, because apps may be down. */
export async function recoverCommand(context: CommandContext, { forgive }: { forgive: string | null }): Promise<void> {
  const loaded = await loadConfigForRecovery(locateConfig(context.flags, context.env));
  const log = await context.openLog();
  if (loaded.warning !== null) log.warn(loaded.warning);
  const signals = watchSignals({
    onRepeat: () => context.reporter.say('The apps come back first; this cannot be hurried.'),
  });
  const agent = await agentOrNone(loaded.config, (text) => log.warn(text));
  try {
    const end = await settleDebts({ context, loaded, log, stop: signals.stop, agent, forgive });
    await completeRuns(openHistory(loaded.config), agent, (text) => log.warn(text));
    const { failure, exit, ...told } = end;
    context.reporter.result({ schema: 'felhom.recover/1', ...told, error: failure }, () => recoverText(end));
    if (failure !== null) context.reporter.failure(failure);
    context.setExit(exit);
  } finally {
    await agent.close();
    signals.dispose();
  }
}

async function agentOrNone(config: Config, warn: (text: string) => void): Promise<AgentApi> {
  try {
    return await openAgent(config, warn);
  } catch (error) {
    return noAgent(asFailure(error).message);
  }
}

function settledWords({ started, failure }: RecoverEnd): string {
  const what = started.length === 0 ? 'nothing had to be started' : `started ${started.join(', ')}`;
  return failure === null ? `settled: ${what}` : `NOT wholly settled: ${what}`;
}

function recoverText(end: RecoverEnd): string {
  const words: Record<RecoverEnd['outcome'], string> = {
    nothing: 'nothing is owed: no app was left down',
    held: 'a run is under way and within its time; it brings its own apps back',
    left_to_boot: 'the guest is shutting down; the apps come back at its next boot',
    settled: settledWords(end),
    owed: 'NOT settled: apps are down',
    failed: 'nothing could be settled',
  };
  const lines = [words[end.outcome]];
  if (end.outcome !== 'settled' && end.started.length > 0) lines.push(`  started            ${end.started.join(', ')}`);
  if (end.forgiven.length > 0) lines.push(`  forgiven           ${end.forgiven.join(', ')}`);
  for (const { stack, container, why } of end.owed)
    lines.push(`  still down         ${inStack(stack, container)} (${why})`);
  for (const warning of end.warnings) lines.push(`  note               ${warning}`);
  return lines.join('\n');
}
