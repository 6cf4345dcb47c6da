import type { Failure } from '@felhom/kernel/failure.ts';
import type { BackupOptions } from './options.ts';
import type { HeldLock, OpenRun, RunPorts } from './ports.ts';
import type { OwedContainer, TimelineEntry } from './result.ts';

/** One backup run: what every step of it needs, and what they tell on the way. */
export interface Run {
  readonly id: string;
  readonly bootId: string;
  readonly ports: RunPorts;
  readonly options: BackupOptions;
  readonly lock: HeldLock;
  readonly startedAtMs: number;
  readonly startedMonotonicMs: number;
  readonly timeline: TimelineEntry[];
  readonly warnings: string[];
  jobId: string | null;
  /** What an earlier run owes and could not be settled before this one: these apps are down. */
  owedBefore: readonly OwedContainer[];
  /** Notes a moment in the timeline. */
  mark(event: string, stack?: string): void;
  warn(text: string): void;
}

export interface RunIdentity {
  id: string;
  bootId: string;
  lock: HeldLock;
}

export function newRun(ports: RunPorts, options: BackupOptions, { id, bootId, lock }: RunIdentity): Run {
  const { clock, progress } = ports;
  const startedAtMs = clock.nowMs();
  const startedMonotonicMs = clock.monotonicMs();
  const timeline: TimelineEntry[] = [];
  const warnings: string[] = [];
  return {
    id,
    bootId,
    ports,
    options,
    lock,
    startedAtMs,
    startedMonotonicMs,
    timeline,
    warnings,
    jobId: options.jobId,
    owedBefore: [],
    mark: (event, stack) => {
      // Wall time may jump in a freeze; the timeline keeps the distance by the monotonic clock.
      const offsetMs = Math.round((clock.monotonicMs() - startedMonotonicMs) * 10) / 10;
      const atMs = startedAtMs + Math.round(offsetMs);
      const where = stack === undefined ? {} : { stack };
      timeline.push({ at: new Date(atMs).toISOString(), offset_ms: offsetMs, event, ...where });
      progress({ kind: 'timeline', atMs, offsetMs, event, ...where });
    },
    warn: (text) => {
      warnings.push(text);
      progress({ kind: 'warning', text });
    },
  };
}

/** Tells history that this run is under way; once more when its job is known. */
export async function noteBegin(run: Run): Promise<void> {
  try {
    await run.ports.history.begin(openRunOf(run));
  } catch (error) {
    run.warn(`the run could not be written to the history: ${words(error)}`);
  }
}

export function openRunOf({ id, jobId, bootId, startedAtMs }: Run): OpenRun {
  return { runId: id, jobId, bootId, startedAtMs };
}

/** Lets whoever finds us hung know since when we are. Best effort: the lock holds whatever its text says. */
export async function tellDeadline(run: Run, deadlineMs: number | null): Promise<void> {
  try {
    await run.lock.update({ runId: run.id, deadlineMs });
  } catch (error) {
    run.warn(`the lock file could not be written: ${words(error)}`);
  }
}

/** How a step may end the run: nothing is down, or nothing is down any more. */
export interface RunStop {
  outcome: 'failed' | 'aborted' | 'interrupted';
  failure: Failure;
}

/** Words of anything thrown. */
export function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
