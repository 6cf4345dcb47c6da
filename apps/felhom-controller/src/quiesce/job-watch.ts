import { AgentError } from '@felhom/guest-api/agent-api.ts';
import type { JobStatus } from '@felhom/guest-api/schema.ts';
import type { Clock } from '@felhom/kernel/clock.ts';
import type { QuiesceBounds } from './bounds.ts';
import type { AgentPort } from './ports.ts';
import { aborted } from './stop.ts';

/** What is known of the host's job. */
export interface JobView {
  status: JobStatus | null;
  /** The agent does not know the job, or us, any more: there is nothing left to wait for. */
  lost: AgentError | null;
  /** Monotonic: when the agent last gave a proper answer. */
  heardAtMs: number;
  lastTrouble: string | null;
}

/**
 * One long poll after another, from before the gate opens to the job's end. The polls are what
 * claims the gate and renews its lease, so they go on while apps are stopped. A poll that fails is
 * unknown, not failed: it is repeated.
 */
export interface JobWatch {
  view(): JobView;
  /** Resolves with the first view that matches, or with the latest one when `signal` aborts. */
  until(match: (view: JobView) => boolean, signal: AbortSignal): Promise<JobView>;
  /** One more poll that answers at once: what a thawed clock deserves before its deadline is believed. */
  pollOnce(boundMs: number): Promise<JobView>;
  end(): void;
}

/** Answers after which asking again about this job is pointless. */
const lostKinds: ReadonlySet<AgentError['kind']> = new Set([
  'not_found',
  'gone',
  'busy',
  'restored_copy',
  'identity_conflict',
  'refused',
  'identity',
  'moved',
  'rejected',
]);

export interface JobWatchOptions {
  agent: AgentPort;
  clock: Clock;
  jobId: string;
  bounds: Pick<QuiesceBounds, 'pollSeconds' | 'pollRetryMs'>;
  onStatus?: (status: JobStatus) => void;
}

export function watchJob({ agent, clock, jobId, bounds, onStatus }: JobWatchOptions): JobWatch {
  const ended = new AbortController();
  const waiting = new Set<() => void>();
  const view: JobView = { status: null, lost: null, heardAtMs: clock.monotonicMs(), lastTrouble: null };

  const take = (status: JobStatus): void => {
    view.heardAtMs = clock.monotonicMs();
    view.lastTrouble = null;
    if (view.status !== null && status.seq < view.status.seq) return;
    view.status = status;
    onStatus?.(status);
  };
  const wake = (): void => {
    for (const each of [...waiting]) each();
  };
  const poll = async (waitSeconds: number, signal: AbortSignal): Promise<void> => {
    try {
      const after = waitSeconds === 0 || view.status === null ? {} : { after: view.status.seq };
      take(await agent.status(jobId, { ...after, waitSeconds, signal }));
    } catch (error) {
      if (signal.aborted) return;
      view.lastTrouble = error instanceof Error ? error.message : String(error);
      if (error instanceof AgentError && lostKinds.has(error.kind)) view.lost = error;
      else await clock.sleep(bounds.pollRetryMs, signal);
    }
    wake();
  };
  void (async () => {
    while (!ended.signal.aborted && view.lost === null && !isTerminal(view.status))
      await poll(bounds.pollSeconds, ended.signal);
  })();

  return {
    view: () => ({ ...view }),
    until: async (match, signal) => {
      while (!match(view) && !signal.aborted && !ended.signal.aborted) await oneWake(waiting, signal);
      return { ...view };
    },
    pollOnce: async (boundMs) => {
      const limit = new AbortController();
      const enough = new AbortController();
      void clock.sleep(boundMs, enough.signal).then(() => limit.abort());
      if (view.lost === null) await Promise.race([poll(0, limit.signal), aborted(limit.signal)]);
      enough.abort();
      return { ...view };
    },
    end: () => {
      ended.abort();
      wake();
    },
  };
}

export function isTerminal(status: JobStatus | null): boolean {
  return status !== null && (status.phase === 'done' || status.phase === 'failed' || status.phase === 'cancelled');
}

function oneWake(waiting: Set<() => void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      waiting.delete(done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    waiting.add(done);
    signal.addEventListener('abort', done, { once: true });
  });
}
