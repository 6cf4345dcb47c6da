import { watchSignals } from '@felhom/cli/signals.ts';
import { failures } from '@felhom/kernel/failure.ts';
import type { AgentConfig } from '../config.ts';
import { loadAgentConfig } from '../load-config.ts';
import { isOpen, type Operation } from '../operations/record.ts';
import { operationRow, operationText } from '../operations/row.ts';
import { becomeOwnerOf } from '../own-state.ts';
import type { RecoveredReport } from '../reconcile/report.ts';
import type { CommandContext } from './context.ts';
import { adoptionOf } from './guest-adopt.ts';

/**
 * `recover`: looks what became of every action and signed operation that nobody saw the end of. Asks for nothing again;
 * what a finished operation still owes (adopting, starting its guest) is done. Damaged parts of the journal of actions
 * are put aside, once a person has seen that there are some. Safe at any time.
 */
export async function recoverCommand(context: CommandContext): Promise<void> {
  const signals = watchSignals();
  const { config } = await loadAgentConfig(context.flags.config);
  await becomeOwnerOf(config.state);
  const log = await context.openLog();
  const { openReconcile } = await import('../reconcile/wiring.ts');
  const { recoverActions } = await import('../reconcile/recover.ts');
  const { ports, limits, setDamageAside, close } = await openReconcile(config, {
    log,
    onFatal: (failure) => {
      log.error(failure.message);
      process.exit(failure.exit);
    },
  });
  try {
    const deadlineMs = ports.clock.monotonicMs() + config.bounds.lock_timeout;
    const recovered = await recoverActions(ports, { limits, deadlineMs, stop: signals.stop });
    for (const problem of await setDamageAside())
      context.reporter.say(
        `actions.jsonl: ${problem}; damaged parts lie in actions.jsonl.damaged from now on, and no longer keep signed operations back`,
      );
    const operations = await recoverSigned(context, config, signals.stop);
    const document = { schema: 'felhom.recover/1', recovered, operations: operations.map(operationRow) } as const;
    context.reporter.result(document, () => [text(recovered), ...operations.map(operationText)].join('\n'));
    // What is open belongs to a process that lives, or could not be told yet.
    if (recovered.some(({ outcome }) => outcome === 'open' || outcome === 'held') || operations.some(isOpen))
      context.setExit(failures.busy.exit);
  } finally {
    await close();
  }
}

/** Signed operations that nobody saw the end of. */
async function recoverSigned(context: CommandContext, config: AgentConfig, stop: AbortSignal): Promise<Operation[]> {
  const { openOperations } = await import('../operations/wiring.ts');
  const { recoverOperations } = await import('../operations/recover.ts');
  const say = (line: string): void => context.reporter.say(line);
  const { ports, close } = await openOperations(config, { adoption: adoptionOf(config), say });
  try {
    return await recoverOperations(ports, stop);
  } finally {
    await close();
  }
}

function text(recovered: readonly RecoveredReport[]): string {
  if (recovered.length === 0) return 'nothing is open';
  return recovered
    .map(
      ({ id, vmid, action, outcome, reason }) =>
        `guest ${vmid}: ${action} (${id}): ${outcome}${reason === null ? '' : `, ${reason}`}`,
    )
    .join('\n');
}
