import { asFailure } from '@felhom/kernel/failure.ts';
import { told } from './check.ts';
import { describeOperation } from './payload.ts';
import type { OperationPorts } from './ports.ts';
import { isOpen, withHighWater } from './record.ts';
import { recoverOperations } from './recover.ts';

export interface WatchOptions {
  log: { info(message: string): void; warn(message: string): void };
  stop: AbortSignal;
  /** Between two looks while an operation is open. */
  openEveryMs: number;
  /** Between two looks else: each raises the mark below which no clock is believed. */
  quietEveryMs: number;
}

/**
 * What `serve` does for operations: it brings to their end those whose process died, and notes the time now and
 * then, so that a clock that is set back between two operations is noticed. Ends when `stop` says so; never throws.
 */
export async function watchOperations(ports: OperationPorts, options: WatchOptions): Promise<void> {
  const { log, stop, openEveryMs, quietEveryMs } = options;
  const { clock, store } = ports;
  let said = '';
  while (!stop.aborted) {
    let open = false;
    try {
      await store.change((file) => ({ file: withHighWater(file, clock.nowMs()), answer: null }));
      for (const operation of await recoverOperations(ports, stop)) {
        if (!isOpen(operation)) log.info(`${told(operation)}: ${describeOperation(operation.payload)}`);
      }
      open = (await store.read()).operations.some(isOpen);
      said = '';
    } catch (error) {
      const { message } = asFailure(error);
      if (message !== said) log.warn(`operations are not looked after: ${message}`);
      said = message;
    }
    await clock.sleep(open ? openEveryMs : quietEveryMs, stop);
  }
}
