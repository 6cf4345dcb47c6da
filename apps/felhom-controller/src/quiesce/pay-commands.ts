import type { Clock } from '@felhom/kernel/clock.ts';
import type { Engine } from '../engine/engine.ts';
import type { QuiesceBounds } from './bounds.ts';
import type { OwedCommand } from './marker.ts';
import { words } from './run.ts';

/**
 * Runs the `after_start` commands, stack by stack side by side. An app that has just started may
 * not be ready for them: they are repeated until `commandMs` has passed.
 */
export async function payCommands(
  { engine, clock }: { engine: Engine; clock: Clock },
  commands: readonly OwedCommand[],
  bounds: Pick<QuiesceBounds, 'commandMs' | 'payBackoffMs' | 'payBackoffLimitMs'>,
): Promise<{ owed: { command: OwedCommand; why: string }[] }> {
  const endMs = clock.monotonicMs() + bounds.commandMs;
  const payOne = async (command: OwedCommand): Promise<string | null> => {
    for (let pauseMs = bounds.payBackoffMs; ; pauseMs = Math.min(pauseMs * 2, bounds.payBackoffLimitMs)) {
      const leftMs = endMs - clock.monotonicMs();
      const why = await tryCommand(engine, command, Math.max(1, leftMs));
      if (why === null || clock.monotonicMs() + pauseMs >= endMs) return why;
      await clock.sleep(pauseMs);
    }
  };
  const results = await Promise.all(commands.map(async (command) => ({ command, why: await payOne(command) })));
  return { owed: results.flatMap(({ command, why }) => (why === null ? [] : [{ command, why }])) };
}

async function tryCommand(
  engine: Engine,
  { stack, service, command }: OwedCommand,
  boundMs: number,
): Promise<string | null> {
  try {
    const running = await engine.listRunning();
    const container = running.find(
      (each) => each.project === stack && each.service === service && each.status === 'running',
    );
    if (container === undefined) return `after_start: ${service} does not run`;
    const { exitCode, output } = await engine.exec(container.id, command, { boundMs });
    if (exitCode === 0) return null;
    return `after_start failed in ${service} (${exitCode ?? 'too slow'}): ${output.trim().slice(-200)}`;
  } catch (error) {
    return words(error);
  }
}
