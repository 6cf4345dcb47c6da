import { lockProcesses } from '@felhom/durable/lock-processes.ts';
import { readProcessStat } from '@felhom/durable/process-stat.ts';
import { acquireRunLock, isAlive, processStartTime, type RunLock } from '@felhom/durable/run-lock.ts';
import type { HeldLock, LockPort, RunHolder } from '../quiesce/ports.ts';
import { fromFile, lockPath, toFile } from './lock-holders.ts';

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

function heldLock(lock: RunLock, self: RunHolder): HeldLock {
  return {
    inheritFds: [lock.fd],
    update: async (change) => await lock.update(toFile({ ...self, ...change })),
    release: async () => await lock.release(),
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
