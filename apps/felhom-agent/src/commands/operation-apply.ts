import { Interruption, watchSignals } from '@felhom/cli/signals.ts';
import { Failure, failures } from '@felhom/kernel/failure.ts';
import { loadAgentConfig } from '../load-config.ts';
import { applyOperation } from '../operations/apply.ts';
import { readEnvelopeFile } from '../operations/envelope-file.ts';
import { describeOperation } from '../operations/payload.ts';
import type { Operation } from '../operations/record.ts';
import { refusalFailure } from '../operations/refusal.ts';
import { operationRow, operationText } from '../operations/row.ts';
import { operationSigners } from '../operations/signers.ts';
import { becomeOwnerOf } from '../own-state.ts';
import { andState } from './and-state.ts';
import type { CommandContext } from './context.ts';
import { adoptionOf } from './guest-adopt.ts';

/** `operation apply FILE`: acts, or refuses with a reason. The same envelope never acts twice. */
export async function operationApply(
  context: CommandContext,
  { file, lockTimeoutMs }: { file: string; lockTimeoutMs: number },
): Promise<void> {
  const bytes = await readEnvelopeFile(file);
  const { config, file: configFile } = await loadAgentConfig(context.flags.config);
  const signers = await operationSigners(config, configFile);
  await becomeOwnerOf(config.state);
  const { openOperations } = await import('../operations/wiring.ts');
  const say = (line: string): void => context.reporter.say(line);
  const { ports, close } = await openOperations(config, { adoption: adoptionOf(config), say });
  const signals = watchSignals();
  try {
    const options = { signers, lockTimeoutMs, signal: signals.stop };
    const applied = await andState(
      'nothing was done, and the same file may be applied again',
      async () => await applyOperation(ports, bytes, options),
    );
    if (applied.kind === 'refused') throw refusalFailure(applied.refusal);
    report(context, applied.operation, { earlier: applied.kind === 'earlier', stop: signals.stop });
  } finally {
    signals.dispose();
    await close();
  }
}

function report(
  context: CommandContext,
  operation: Operation,
  { earlier, stop }: { earlier: boolean; stop: AbortSignal },
): void {
  const failure = failureOf(operation, stop);
  const document = {
    schema: 'felhom.operation/1',
    ...operationRow(operation),
    earlier,
    error: failure,
  } as const;
  const again = earlier ? 'the same was asked for before; this is what became of it:\n' : '';
  context.reporter.result(document, () => `${again}${operationText(operation)}`);
  if (failure !== null) {
    context.reporter.failure(failure);
    context.setExit(failure.exit);
  } else if (operation.notes.length > 0) context.setExit(failures.below_policy.exit);
}

/** Anything but `done`, as a failure; null for `done`. */
function failureOf({ id, outcome, reason, payload }: Operation, stop: AbortSignal): Failure | null {
  const what = describeOperation(payload);
  if (outcome === 'done') return null;
  if (outcome === null) {
    return new Failure(codeOfOpen(stop), {
      message: `whether it was done is not known yet: ${what}; the task, if there is one, goes on`,
      hint: `felhom-agent operation list shows ${id}; the next apply for this guest, and serve, look again.`,
      reason: 'open',
    });
  }
  return new Failure('operation_failed', {
    message: `${outcome}: ${what}: ${reason ?? 'no reason is on record'}`,
    hint: 'It is not tried again. Look at the target (felhom-agent operation verify FILE), then sign anew what you mean.',
    reason: outcome,
  });
}

/** Why the end is not known: somebody ended the command, or PVE does not tell. */
function codeOfOpen({ aborted, reason }: AbortSignal): 'interrupted' | 'terminated' | 'pve_unreachable' {
  if (!aborted) return 'pve_unreachable';
  return reason instanceof Interruption && reason.signal === 'SIGTERM' ? 'terminated' : 'interrupted';
}
