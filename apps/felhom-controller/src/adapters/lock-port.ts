import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type LockHolder, readLockHolder } from '@felhom/durable/lock-holder.ts';
import { lockProcesses } from '@felhom/durable/lock-processes.ts';
import { readProcessStat } from '@felhom/durable/process-stat.ts';
import { acquireRunLock, isAlive, processStartTime, type RunLock } from '@felhom/durable/run-lock.ts';
import type { HeldLock, LockPort, RunHolder } from '../quiesce/ports.ts';

/** Where the run lock of an engine lies: two controllers of one engine meet here, whatever their state folders. */
export function lockPath(runDir: string, engineId: string): string {
  return join(runDir, `engine-${engineId.replaceAll(/[^A-Za-z0-9_.-]/g, '_').slice(0, 100)}.lock`);
}

/** The run lock, keyed to the engine that `engineId` names when it is asked. */
export function lockPort({ runDir, engineId }: { runDir: string; engineId: () => Promise<string> }): LockPort {
  return {
    acquire: async (what, runId) => {
      const path = lockPath(runDir, await engineId());
      const startTime = (await processStartTime(process.pid)) ?? '';
      const self: RunHolder = { pid: process.pid, startTime, what, runId, deadlineMs: null };
      const acquired = await acquireRunLock(path, toFile(self));
      if (acquired.kind === 'busy') return { kind: 'busy', holder: fromFile(acquired.holder) };
      return { kind: 'held', lock: heldLock(acquired.lock, self) };
    },
    isAlive,
    endHolder: async (holder) => {
      if (await isAlive(holder)) signal(holder.pid);
    },
    endChildren: async () => {
      const own = (await readProcessStat(process.pid))?.group;
      const holding = await lockProcesses(lockPath(runDir, await engineId()));
      const groups = new Set(holding.map(({ group }) => group).filter((group) => group > 1 && group !== own));
      for (const group of groups) signal(-group);
    },
  };
}

/** Who says in `runDir` that he holds a run lock, dead or alive: for `status`, which asks no engine. */
export async function readHolders(runDir: string): Promise<RunHolder[]> {
  const names = await readdir(runDir).catch(() => []); // No folder: nobody has ever run here since boot.
  const found: RunHolder[] = [];
  for (const name of names.filter((each) => /^engine-.*\.lock$/.test(each))) {
    const holder = fromFile(await readLockHolder(join(runDir, name)));
    if (holder !== null && (await isAlive(holder))) found.push(holder);
  }
  return found;
}

function heldLock(lock: RunLock, self: RunHolder): HeldLock {
  return {
    inheritFds: [lock.fd],
    update: async (change) => await lock.update(toFile({ ...self, ...change })),
    release: async () => await lock.release(),
  };
}

function toFile({ pid, startTime, what, runId, deadlineMs }: RunHolder): LockHolder {
  return {
    pid,
    startTime,
    purpose: what,
    ...(runId === null ? {} : { runId }),
    ...(deadlineMs === null ? {} : { deadlineMs }),
  };
}

function fromFile(holder: LockHolder | null): RunHolder | null {
  if (holder === null) return null;
  return {
    pid: holder.pid,
    startTime: holder.startTime,
    what: holder.purpose === 'recover' ? 'recover' : 'backup',
    runId: holder.runId ?? null,
    deadlineMs: holder.deadlineMs ?? null,
  };
}

/** SIGKILL; what is gone already is what we wanted. */
function signal(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}
