import { dirname } from 'node:path';
import { type Disk, systemDisk } from './disk.ts';
import { removeFile, replaceFile, sweepTemporaries } from './replace-file.ts';
import { ensureFolder } from './state-folder.ts';
import { unwritable } from './unwritable.ts';
import { type Format, type MarkerRead, readCopy, toText } from './versioned-file.ts';

/** One versioned JSON file that is replaced as a whole. One writer at a time; reading never writes. */
export interface StateFile<T> {
  read(): Promise<MarkerRead<T>>;
  /** Throws Failure `state_unwritable`; the file then holds what it held. */
  write(value: T): Promise<void>;
  remove(): Promise<void>;
}

export interface StateFileOptions<T> extends Format<T> {
  /** Ends in `.json`, so that what a killed process left beside it can be told and swept. */
  path: string;
  disk?: Disk;
}

export function stateFile<T>(options: StateFileOptions<T>): StateFile<T> {
  const { path, disk = systemDisk } = options;
  const guarded = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      throw unwritable(path, 'It holds what it held before.', error);
    }
  };
  return {
    read: async () => {
      const copy = await readCopy(path, options, disk);
      return copy.kind === 'present' ? { kind: 'present', value: copy.value } : withoutSequence(copy);
    },
    write: (value) =>
      guarded(async () => {
        await ensureFolder(dirname(path), disk);
        await sweepTemporaries(dirname(path));
        await replaceFile(path, toText(options, value, 0), { disk });
      }),
    remove: () => guarded(() => removeFile(path, disk)),
  };
}

function withoutSequence<T>(
  copy: Exclude<Awaited<ReturnType<typeof readCopy<T>>>, { kind: 'present' }>,
): MarkerRead<T> {
  return copy.kind === 'newer' ? { kind: 'newer', version: copy.version } : copy;
}
