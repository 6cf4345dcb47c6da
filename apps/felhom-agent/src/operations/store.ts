import { processStartTime, waitForLock } from '@felhom/durable/run-lock.ts';
import type { StateFile } from '@felhom/durable/state-file.ts';
import type { Clock } from '@felhom/kernel/clock.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import type { OperationStore } from './ports.ts';
import type { OperationsFile } from './record.ts';

export interface FileStoreOptions {
  file: StateFile<OperationsFile>;
  /** Where it lies: its lock lies beside it, and errors name it. */
  path: string;
  clock: Clock;
  /** 32 hex digits at random. */
  newAgentId: () => string;
}

const longestWaitMs = 10_000;

/** The record as a file, changed under a lock beside it: `serve` and commands both write it. */
export function fileOperationStore({ file, path, clock, newAgentId }: FileStoreOptions): OperationStore {
  const readOrMake = async (): Promise<{ value: OperationsFile; made: boolean }> => {
    const read = await file.read();
    if (read.kind === 'present') return { value: read.value, made: false };
    if (read.kind === 'absent')
      return { value: { agent_id: newAgentId(), high_water_ms: 0, operations: [] }, made: true };
    throw damaged(path, read.kind === 'newer' ? `a newer version (${read.version}) wrote it` : read.reason, read.kind);
  };
  const change: OperationStore['change'] = async (how) => {
    const lock = await takeLock(`${path}.lock`, clock);
    try {
      const { value, made } = await readOrMake();
      const { file: changed, answer } = how(value);
      if (made || changed !== value) await file.write(changed);
      return answer;
    } finally {
      await lock.release();
    }
  };
  return {
    read: async () => {
      const read = await file.read();
      return read.kind === 'present' ? read.value : await change((value) => ({ file: value, answer: value }));
    },
    change,
  };
}

async function takeLock(path: string, clock: Clock): Promise<{ release(): Promise<void> }> {
  const holder = { pid: process.pid, startTime: (await processStartTime(process.pid)) ?? '', purpose: 'operations' };
  const acquired = await waitForLock(path, holder, { deadlineMs: clock.monotonicMs() + longestWaitMs, clock });
  if (acquired.kind === 'held-by-us') return acquired.lock;
  throw new Failure('busy', {
    message: `process ${acquired.holder?.pid ?? 'unknown'} keeps the record of operations locked; nothing was done`,
    hint: 'Try again.',
  });
}

function damaged(path: string, why: string, kind: 'newer' | 'unreadable'): Failure {
  return new Failure(kind === 'newer' ? 'state_newer' : 'state_unreadable', {
    message: `the record of operations ${path} cannot be read: ${why}. No operation is taken: it might be a replay`,
    hint:
      kind === 'newer'
        ? 'Install that version of felhom-agent again.'
        : `Look at it, then remove it (rm ${path}): the agent gets a new id, and what was signed for the old one is void.`,
  });
}
