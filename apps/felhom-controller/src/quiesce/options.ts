import type { Grade } from '@felhom/guest-api/schema.ts';
import type { QuiesceBounds } from './bounds.ts';
import type { QuiescePolicy } from './policy.ts';

export interface BackupOptions {
  policy: QuiescePolicy;
  bounds: QuiesceBounds;
  /** The guest's storage entry to use; null: the agent's choice. */
  storage: string | null;
  /** A job that the agent has offered (`due`): followed without asking for another. */
  jobId: string | null;
  /** Nobody asked for this run but the agent's `due`: where that does not hold any more, there is no run. */
  onlyIfDue: boolean;
  /** False: return once the apps are back, do not follow the archive. */
  wait: boolean;
  /** Aborts at the first SIGINT or SIGTERM; its reason is the `Interruption`. */
  stop: AbortSignal;
  /** Grade under which a finished backup is exit 5. */
  wantedGrade: Grade;
}
