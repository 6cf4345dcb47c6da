import { Failure } from '@felhom/kernel/failure.ts';
import type { Transaction } from './run.ts';

/** While docker does not answer there is nothing to be done but to wait for it, with backoff and a bound. */
export async function whenDockerAnswers<T>(
  { ports: { clock }, settings: { quiesce } }: Pick<Transaction, 'ports' | 'settings'>,
  work: () => Promise<T>,
): Promise<T> {
  const endMs = clock.monotonicMs() + quiesce.payRetryMs;
  for (let pauseMs = quiesce.payBackoffMs; ; pauseMs = Math.min(pauseMs * 2, quiesce.payBackoffLimitMs)) {
    try {
      return await work();
    } catch (error) {
      const isWorthWaiting = error instanceof Failure && error.code === 'docker_unreachable';
      if (!isWorthWaiting || clock.monotonicMs() + pauseMs > endMs) throw error;
      await clock.sleep(pauseMs);
    }
  }
}
