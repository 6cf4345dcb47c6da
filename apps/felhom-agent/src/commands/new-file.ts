import { open, rm } from 'node:fs/promises';
import { Failure } from '@felhom/kernel/failure.ts';

/** A file that was not there before, 0600 from its first moment. */
export interface NewFile {
  /** Writes and syncs it, once. */
  write(text: string): Promise<void>;
  /** Takes it back, as far as that is possible. */
  discard(): Promise<void>;
}

/** @throws Failure `usage` where it exists already or cannot be made */
export async function createFile(path: string): Promise<NewFile> {
  const file = await open(path, 'wx', 0o600).catch((cause: unknown) => {
    const exists = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST';
    throw new Failure('usage', {
      message: exists
        ? `${path} exists already; it was left as it is`
        : `${path} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`,
      hint: exists ? 'Name a file that does not exist.' : 'Name a file in a folder that you may write to.',
      cause,
    });
  });
  return {
    write: async (text) => {
      await file.writeFile(text);
      await file.sync();
      await file.close();
    },
    discard: async () => {
      await file.close().catch(() => undefined); // Closed already by a write that failed late.
      await rm(path, { force: true }).catch(() => undefined); // An empty file stays where we gave root up meanwhile.
    },
  };
}

/** Writes a file that must not exist yet. @throws Failure `usage` as `createFile` does */
export async function writeNew(path: string, text: string): Promise<void> {
  const file = await createFile(path);
  await file.write(text);
}
