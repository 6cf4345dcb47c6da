import { join } from 'node:path';
import type { Faults } from '../faults.ts';
import { lockHolder, releaseFileLock, tryFileLock } from '../state/files.ts';
import { wait } from './programs.ts';
import type { TaskLog } from './task-log.ts';

/** One vzdump job at a time on a node. The name is the one its log lines use. */
const lockName = '/var/run/vzdump.lock';
const pollMs = 25;

export interface NodeLock {
  release(): void;
}

/**
 * Takes the lock or answers null after the line that says why not. `lockwaitMinutes` 0 does not
 * wait at all. A waiting job has not locked its guest yet.
 */
export async function takeNodeLock(
  state: string,
  faults: Faults,
  options: { lockwaitMinutes: number; log: TaskLog; signal: AbortSignal },
): Promise<NodeLock | null> {
  const path = join(state, 'locks', 'vzdump');
  const take = (): boolean => faults.peek('hold_node_lock') === null && tryFileLock(path);
  const lock: NodeLock = { release: () => releaseFileLock(path) };
  if (take()) return lock;
  if (options.lockwaitMinutes === 0) {
    options.log.error(`can't acquire lock '${lockName}' (wait = 0)`);
    return null;
  }
  options.log.info('trying to get global lock - waiting...');
  const giveUpAt = performance.now() + options.lockwaitMinutes * 60_000;
  while (performance.now() < giveUpAt) {
    await wait(pollMs, options.signal);
    if (!take()) continue;
    options.log.info('got global lock');
    return lock;
  }
  options.log.error(`can't acquire lock '${lockName}' - got timeout`);
  return null;
}

export function nodeLockHolder(state: string): number | null {
  return lockHolder(join(state, 'locks', 'vzdump'));
}
