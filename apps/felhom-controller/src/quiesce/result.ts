import type { BackupMode, Exclusion, GateKind, Grade } from '@felhom/guest-api/schema.ts';
import type { FailureCode } from '@felhom/kernel/failure.ts';

export interface RunError {
  code: FailureCode;
  message: string;
  hint: string;
}

/** `felhom.backup/1`, as `backup now --json` prints it and history keeps it. */
export interface RunResult {
  schema: 'felhom.backup/1';
  run_id: string;
  job_id: string | null;
  /**
   * `aborted`: nothing was captured for this run. `running`: not waited for (`--no-wait`). `not_due`: another backup was made
   * between the agent's `due` and this run, which therefore took none.
   */
  outcome: 'done' | 'failed' | 'aborted' | 'interrupted' | 'running' | 'not_due';
  grade: Grade | null;
  grade_reason: string | null;
  mode: BackupMode | null;
  gate: GateKind | null;
  target: { storage: string | null; type: string | null };
  volid: string | null;
  size_bytes: number | null;
  started_at: string;
  duration_ms: number;
  /** From the first stop command to the last container running again; null: nothing was stopped. */
  downtime_ms: number | null;
  stacks: StackResult[];
  kept_running: KeptContainer[];
  excluded: Exclusion[];
  timeline: TimelineEntry[];
  /** Containers that could not be brought back: the marker still names them. */
  owed: OwedContainer[];
  warnings: string[];
  error: RunError | null;
}

export interface StackResult {
  name: string;
  containers: number;
  /** Every container with writable data ended by itself within its grace. */
  clean_stop: boolean;
  /** Containers that the engine had to kill. */
  killed: string[];
  slowest_stop: { container: string; ms: number } | null;
  downtime_ms: number | null;
  /** From the first stop to every container that was healthy before healthy again; null: unknown, or none has a health check. */
  healthy_ms: number | null;
}

export interface KeptContainer {
  stack: string;
  container: string;
  /** `keep` (configured), `protected`, `paused`, `one-off`, `auto-remove`, `swarm`, `namespace` (another kept one lives in it), `still-running`. */
  why: string;
}

export interface TimelineEntry {
  at: string;
  offset_ms: number;
  event: string;
  stack?: string;
}

export interface OwedContainer {
  stack: string;
  container: string;
  why: string;
}
