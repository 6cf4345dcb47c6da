import { join } from 'node:path';
import { type HistoryEntry, historyStore } from '@felhom/durable/history-store.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import type { HistoryPort, OpenRun } from '../quiesce/ports.ts';
import type { RunResult } from '../quiesce/result.ts';

/*
 * Invariants:
 * - One file a run, written when it begins (without a result) and replaced when it ends: a run without
 *   a result is one that somebody still has to close.
 * - A file that cannot be read hides no other run, and is never repaired or removed by us.
 */

const openRun = z.object({
  runId: z.string(),
  jobId: z.string().nullable(),
  bootId: z.string(),
  startedAtMs: z.number(),
});

const isResult = (value: unknown): boolean =>
  typeof value === 'object' &&
  value !== null &&
  'schema' in value &&
  value.schema === 'felhom.backup/1' &&
  'outcome' in value;

const record = z.object({ run: openRun, result: z.custom<RunResult>(isResult, 'no result of a run').nullable() });

/** A run as it was kept; `result` is null while nobody has ended it. */
export interface RunRecord {
  run: OpenRun;
  result: RunResult | null;
}

export interface History extends HistoryPort {
  /** Newest first, `limit` at most; what cannot be read is left out. */
  list(limit: number): Promise<RunRecord[]>;
  /** One run by its id, or by the only beginning of an id that fits. @throws Failure `not_found`, `usage` (several), `state_unreadable`. */
  find(runId: string): Promise<RunRecord>;
}

/** The runs kept in the state folder, `keep` at most. */
export function fileHistory({ stateDir, keep }: { stateDir: string; keep: number }): History {
  const folder = join(stateDir, 'history');
  const store = historyStore<RunRecord>({ folder, keep, version: 1, schema: record });
  const list = async (limit?: number): Promise<RunRecord[]> => {
    try {
      return (await store.list(limit)).flatMap(readable);
    } catch (cause) {
      throw unreadable(folder, cause);
    }
  };
  return {
    begin: async (run) => await store.save(run.runId, { run, result: null }),
    end: async (run, result) => await store.save(run.runId, { run, result }),
    unfinished: async () => (await list()).flatMap(({ run, result }) => (result === null ? [run] : [])),
    list,
    find: async (runId) => {
      const entry = await store.find(runId);
      if (entry.read.kind === 'present') return entry.read.value;
      throw new Failure('state_unreadable', {
        message: `the run ${entry.id} is kept but cannot be read (${entry.read.kind})`,
        hint: `Look at ${join(folder, `${entry.id}.json`)}.`,
      });
    },
  };
}

function readable(entry: HistoryEntry<RunRecord>): RunRecord[] {
  return entry.read.kind === 'present' ? [entry.read.value] : [];
}

function unreadable(folder: string, cause: unknown): Failure {
  if (cause instanceof Failure) return cause;
  return new Failure('state_unreadable', {
    message: `the run history cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
    hint: `Run the same command as root (sudo), and check the disk that holds ${folder}.`,
    cause,
  });
}
