import { watchSignals } from '@felhom/cli/signals.ts';
import { failures } from '@felhom/kernel/failure.ts';
import { loadConfig } from '../load-config.ts';
import type { RecoveredReport } from '../reconcile/report.ts';
import type { CommandContext } from './context.ts';

/** `recover`: looks what became of every action that nobody saw the end of. Starts and changes nothing; safe at any time. */
export async function recoverCommand(context: CommandContext): Promise<void> {
  const signals = watchSignals();
  const { config } = await loadConfig(context.flags.config);
  const log = await context.openLog();
  const { openReconcile } = await import('../reconcile/wiring.ts');
  const { recoverActions } = await import('../reconcile/recover.ts');
  const { ports, limits, close } = await openReconcile(config, {
    log,
    onFatal: (failure) => {
      log.error(failure.message);
      process.exit(failure.exit);
    },
  });
  try {
    const deadlineMs = ports.clock.monotonicMs() + config.bounds.lock_timeout;
    const recovered = await recoverActions(ports, { limits, deadlineMs, stop: signals.stop });
    const document = { schema: 'felhom.recover/1', recovered } as const;
    context.reporter.result(document, () => text(recovered));
    // What is open belongs to a process that lives, or could not be told yet.
    if (recovered.some(({ outcome }) => outcome === 'open' || outcome === 'held')) context.setExit(failures.busy.exit);
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
