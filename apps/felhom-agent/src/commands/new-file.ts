import { open, rm } from 'node:fs/promises';
import { errorCode } from '@felhom/durable/disk.ts';
import { unwritable } from '@felhom/durable/unwritable.ts';
import { Failure } from '@felhom/kernel/failure.ts';

/** A file that was not there before, 0600 from its first moment. */
export interface NewFile {
  /** Writes and syncs it, once. @throws Failure `state_unwritable` (a full disk); nothing of it is left then */
  write(text: string): Promise<void>;
  /** Takes it back, as far as that is possible. */
  discard(): Promise<void>;
}

/**
 * @param state a sentence for the errors: what was not done, and what still counts
 * @throws Failure `usage` where it exists already or cannot be made
 */
export async function createFile(path: string, state: string): Promise<NewFile> {
  const file = await open(path, 'wx', 0o600).catch((cause: unknown) => {
    const exists = errorCode(cause) === 'EEXIST';
    throw new Failure('usage', {
      message: exists
        ? `${path} exists already and was left as it is. ${state}`
        : `${path} cannot be made: ${cause instanceof Error ? cause.message : String(cause)}. ${state}`,
      hint: exists ? 'Name a file that does not exist.' : 'Name a file in a folder that you may write to.',
      cause,
    });
  });
  const discard = async (): Promise<void> => {
    // What we may not remove, because root was given up meanwhile, is empty at least.
    await file.truncate(0).catch(() => undefined);
    await file.close().catch(() => undefined);
    await rm(path, { force: true }).catch(() => undefined);
  };
  return {
    write: async (text) => {
      try {
        await file.writeFile(text);
        await file.sync();
        await file.close();
      } catch (cause) {
        await discard();
        throw unwritable(path, state, cause);
      }
    },
    discard,
  };
}

/** Writes a file that must not exist yet: the whole text, or nothing. @throws Failure as `createFile` and its `write` */
export async function writeNew(path: string, text: string, state: string): Promise<void> {
  const file = await createFile(path, state);
  await file.write(text);
}
