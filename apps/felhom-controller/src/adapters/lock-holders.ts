import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type LockHolder, readLockHolder } from '@felhom/durable/lock-holder.ts';
import { readProcessStat } from '@felhom/durable/process-stat.ts';
import type { RunHolder } from '../quiesce/ports.ts';

/** Where the run lock of an engine lies: two controllers of one engine meet here, whatever their state folders. */
export function lockPath(runDir: string, engineId: string): string {
  return join(runDir, `engine-${engineId.replaceAll(/[^A-Za-z0-9_.-]/g, '_').slice(0, 100)}.lock`);
}

/** The living processes that `runDir` names as holders of a run lock: for `status`, which asks no engine. */
export async function readHolders(runDir: string): Promise<RunHolder[]> {
  const names = await readdir(runDir).catch(() => []); // No folder: nobody has ever run here since boot.
  const found: RunHolder[] = [];
  for (const name of names.filter((each) => /^engine-.*\.lock$/.test(each))) {
    const holder = fromFile(await readLockHolder(join(runDir, name)));
    if (holder === null) continue;
    const stat = await readProcessStat(holder.pid);
    if (stat?.startTime === holder.startTime && stat.state !== 'Z' && stat.state !== 'X') found.push(holder);
  }
  return found;
}

/** A holder as the lock file keeps it. */
export function toFile({ pid, startTime, what, runId, deadlineMs }: RunHolder): LockHolder {
  return {
    pid,
    startTime,
    purpose: what,
    ...(runId === null ? {} : { runId }),
    ...(deadlineMs === null ? {} : { deadlineMs }),
  };
}

const purposes: readonly RunHolder['what'][] = ['backup', 'recover', 'upgrade', 'snapshot'];

/** What a lock file says, in the words of the cycle. */
export function fromFile(holder: LockHolder | null): RunHolder | null {
  if (holder === null) return null;
  return {
    pid: holder.pid,
    startTime: holder.startTime,
    what: purposes.find((each) => each === holder.purpose) ?? 'backup',
    runId: holder.runId ?? null,
    deadlineMs: holder.deadlineMs ?? null,
  };
}
