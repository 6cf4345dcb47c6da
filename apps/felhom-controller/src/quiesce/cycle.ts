import type { Failure } from '@felhom/kernel/failure.ts';
import type { QuiesceBounds } from './bounds.ts';
import type { QuiescePolicy } from './policy.ts';
import type { RunPorts } from './ports.ts';
import type { RunResult } from './result.ts';

export interface BackupOptions {
  policy: QuiescePolicy;
  bounds: QuiesceBounds;
  /** The guest's storage entry to use; null: the agent's choice. */
  storage: string | null;
  /** A job that the agent has offered (`due`): followed without asking for another. */
  jobId: string | null;
  /** False: return once the apps are back, do not follow the archive. */
  wait: boolean;
  /** Aborts at the first SIGINT or SIGTERM; its reason is the `Interruption`. */
  stop: AbortSignal;
  /** Grade under which a finished backup is exit 5. */
  wantedGrade: 'app-consistent' | 'crash-consistent';
}

export interface BackupEnd {
  result: RunResult;
  /** Exit code of the table in docs/architecture.md, section 10. */
  exit: number;
  failure: Failure | null;
}

/** One backup run. Never throws for what happens to the run: the end says it. */
export async function runBackup(_ports: RunPorts, _options: BackupOptions): Promise<BackupEnd> {
  throw new Error('not built yet');
}
