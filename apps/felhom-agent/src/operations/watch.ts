import { asFailure } from '@felhom/kernel/failure.ts';
import { told } from './check.ts';
import { describeOperation } from './payload.ts';
import type { OperationPorts } from './ports.ts';
import { isOpen, withHighWater } from './record.ts';
import { recoverOperations } from './recover.ts';

export interface WatchOptions {
  log: { info(message: string): void; warn(message: string): void };
  stop: AbortSignal;
  /** Between two looks for operations that are open: their process may die at any time. */
  lookEveryMs: number;
  /** Between two raises of the mark below which no clock is believed. */
  markEveryMs: number;
}

/**
 * What `serve` does for operations: it brings to their end those whose process died, and notes the time now and
 * then, so that a clock that is set back between two operations is noticed. Ends when `stop` says so; never throws.
 */
export async function watchOperations(ports: OperationPorts, options: WatchOptions): Promise<void> {
  const { log, stop, lookEveryMs, markEveryMs } = options;
  const { clock, store } = ports;
  let said = '';
  let markAtMs = clock.monotonicMs();
  const look = async (): Promise<void> => {
    try {
      if (clock.monotonicMs() >= markAtMs) {
        await store.change((file) => ({ file: withHighWater(file, clock.nowMs()), answer: null }));
        markAtMs = clock.monotonicMs() + markEveryMs;
      }
      for (const operation of await recoverOperations(ports, stop)) {
        if (!isOpen(operation)) log.info(`${told(operation)}: ${describeOperation(operation.payload)}`);
      }
      said = '';
    } catch (error) {
      const { message } = asFailure(error);
      if (message !== said) log.warn(`operations are not looked after: ${message}`);
      said = message;
    }
  };
  // Not waited for: what is followed for hours (a restore) holds its guest's lane, and must hold up no other.
  const looks = new Set<Promise<void>>();
  while (!stop.aborted) {
    const mine = look().finally(() => looks.delete(mine));
    looks.add(mine);
    await clock.sleep(lookEveryMs, stop);
  }
  await Promise.all(looks);
}
