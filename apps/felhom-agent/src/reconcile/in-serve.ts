import type { Log } from '@felhom/cli/log.ts';
import type { Failure } from '@felhom/kernel/failure.ts';
import { openJobsOf } from '../backup/open-jobs.ts';
import type { AgentConfig } from '../config.ts';
import type { AgentApp } from '../serve/app.ts';
import { heartbeat } from './heartbeat.ts';
import { type PassReport, reportText } from './report.ts';

/** The loop of reconcile inside serve. */
export interface ReconcileInServe {
  isAlive: () => boolean;
  /** The newest pass; null before the first. */
  last: () => PassReport | null;
  /** After `stop`: waits for the pass under way, and lets go of everything. */
  end(): Promise<void>;
}

/** Starts the loop where the configuration asks for one; answers at once. null: it is off. */
export async function startReconcile(
  config: AgentConfig,
  app: Pick<AgentApp, 'jobs'>,
  { log, onFatal, stop }: { log: Log; onFatal: (failure: Failure) => void; stop: AbortSignal },
): Promise<ReconcileInServe | null> {
  if (config.reconcile === 'off') return null;
  const intervalMs = config.reconcile.interval;
  const { openReconcile } = await import('./wiring.ts');
  const { runLoop } = await import('./loop.ts');
  const { ports, limits, close } = await openReconcile(config, { log, onFatal });
  const heart = heartbeat(ports.clock, config.bounds.pass + config.bounds.reconcile_backoff + intervalMs * 2);
  let last: PassReport | null = null;
  // Serve's own jobs are known here before they are on the disk.
  const openJobs = async (): Promise<ReadonlyMap<number, string>> => openJobsOf(app.jobs.all(), ports.process.bootId);
  const loop = runLoop(
    { ...ports, openJobs },
    {
      limits,
      allowStops: null,
      allowMemoryBelowUse: false,
      vmids: null,
      lockTimeoutMs: 0,
      intervalMs,
      longestPauseMs: config.bounds.reconcile_backoff,
      gateMs: config.bounds.recovery_gate,
      random: Math.random,
      stop,
      onBeat: heart.beat,
      onReport: (report) => {
        if (isNews(report, last)) log.info(reportText(report).trimEnd());
        last = report;
      },
      onFailure: (failure) => log.error(`reconcile could make no pass: ${failure.message}`),
    },
  );
  return {
    isAlive: heart.isAlive,
    last: () => last,
    end: async () => {
      await loop;
      await close();
    },
  };
}

/** A pass in which something was done or is otherwise than in the one before: the log is no place for "all is well" every 30 s. */
function isNews(now: PassReport, before: PassReport | null): boolean {
  if (now.recovered.length > 0 || now.guests.some(({ actions }) => actions.length > 0)) return true;
  const standing = ({ guests, problems, refused }: PassReport): string =>
    JSON.stringify([guests.map(({ vmid, outcome, reason }) => [vmid, outcome, reason]), problems, refused]);
  return before === null || standing(now) !== standing(before);
}
