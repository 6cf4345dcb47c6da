import type { Failure } from '@felhom/kernel/failure.ts';
import type { RunResult } from './result.ts';

export interface BackupEnd {
  result: RunResult;
  /** Exit code of the table in docs/architecture.md, section 10. */
  exit: number;
  failure: Failure | null;
}
