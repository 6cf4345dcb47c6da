import { processStartTime, waitForLock } from '@felhom/durable/run-lock.ts';
import type { Clock } from '@felhom/kernel/clock.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { type Kept, keptDocumentFile, keptDocumentPath, nothingKept } from './kept-document.ts';
import type { DocumentStore } from './remote-provider.ts';

const longestWaitMs = 10_000;

/** What is kept, in the state folder. `serve` and a pass by hand both change it: under a lock, on what is there then. */
export function documentStore(stateDir: string, clock: Clock): DocumentStore {
  const read = async (): Promise<Kept> => await readKept(stateDir);
  return {
    read,
    change: async (how) => {
      const lock = await takeLock(`${keptDocumentPath(stateDir)}.lock`, clock);
      try {
        const before = await read();
        const after = how(before);
        if (after !== before) await keptDocumentFile(stateDir).write(after);
        return after;
      } finally {
        await lock.release();
      }
    },
  };
}

/** For those who only look: what they learn is theirs alone. */
export function unwrittenStore(stateDir: string): DocumentStore {
  let kept: Promise<Kept> | null = null;
  const read = (): Promise<Kept> => (kept ??= readKept(stateDir));
  return {
    read,
    change: async (how) => {
      const after = how(await read());
      kept = Promise.resolve(after);
      return after;
    },
  };
}

/** @throws Failure `state_unreadable`, `state_newer` */
export async function readKept(stateDir: string): Promise<Kept> {
  const found = await keptDocumentFile(stateDir).read();
  if (found.kind === 'present') return found.value;
  if (found.kind === 'absent') return nothingKept;
  const path = keptDocumentPath(stateDir);
  if (found.kind === 'newer') {
    throw new Failure('state_newer', {
      message: `${path} was written by a newer version (${found.version}); guests stay as they are`,
      hint: 'Install that version of felhom-agent again.',
    });
  }
  throw new Failure('state_unreadable', {
    message: `${path}, the signed document in force, cannot be read: ${found.reason}; guests stay as they are`,
    hint: `Remove it (rm ${path}) once the server offers a document that was signed after everything else you know of: the serial that was seen is lost with it.`,
  });
}

async function takeLock(path: string, clock: Clock): Promise<{ release(): Promise<void> }> {
  const holder = { pid: process.pid, startTime: (await processStartTime(process.pid)) ?? '', purpose: 'declared' };
  const acquired = await waitForLock(path, holder, { deadlineMs: clock.monotonicMs() + longestWaitMs, clock });
  if (acquired.kind === 'held-by-us') return acquired.lock;
  throw new Failure('busy', {
    message: `process ${acquired.holder?.pid ?? 'unknown'} keeps ${path} locked; guests stay as they are`,
    hint: 'Run the command again.',
  });
}
