import type { Clock } from '@felhom/kernel/clock.ts';

/** Wakes whoever waits for something to change. A waiter looks again by itself: a notification carries nothing. */
export interface Notifier {
  notify(): void;
  /** Resolves at the next `notify`, after `ms`, or when `signal` aborts. Never rejects. */
  wait(ms: number, signal?: AbortSignal): Promise<void>;
}

export function createNotifier(clock: Clock): Notifier {
  const waiters = new Set<AbortController>();
  return {
    notify: () => {
      for (const waiter of waiters) waiter.abort();
    },
    wait: async (ms, signal) => {
      if (signal?.aborted === true) return;
      const waiter = new AbortController();
      const end = (): void => waiter.abort();
      waiters.add(waiter);
      signal?.addEventListener('abort', end, { once: true });
      try {
        await clock.sleep(ms, waiter.signal);
      } finally {
        waiters.delete(waiter);
        signal?.removeEventListener('abort', end);
      }
    },
  };
}
