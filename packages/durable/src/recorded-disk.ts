import { basename } from 'node:path';
import { type Disk, type DiskFile, systemDisk } from './disk.ts';

/** For tests: the real disk, with every operation written down in its order, and a place to make one fail. */
export interface RecordedDisk {
  disk: Disk;
  /** `sync marker.json.tmp`: what was done, to which file. The digits of a temporary name are written `tmp`. */
  operations: string[];
  /** Called before each operation; what it throws is what the operation throws. */
  before: (operation: string) => void | Promise<void>;
  /** How many of the given bytes a positioned write takes. */
  takes: (bytes: number) => number;
}

export function recordedDisk(): RecordedDisk {
  const recorded: RecordedDisk = {
    disk: systemDisk,
    operations: [],
    before: () => undefined,
    takes: (bytes) => bytes,
  };
  const note = async <T>(what: string, path: string, act: () => Promise<T>): Promise<T> => {
    const operation = `${what} ${basename(path).replace(/\.\d+$/, '.tmp')}`;
    recorded.operations.push(operation);
    await recorded.before(operation);
    return act();
  };
  const record = (path: string, file: DiskFile): DiskFile => ({
    ...file,
    write: (bytes, position) =>
      note('write', path, () => file.write(bytes.subarray(0, recorded.takes(bytes.length)), position)),
    writeAll: (content) => note('fill', path, () => file.writeAll(content)),
    truncate: (sizeBytes) => note('truncate', path, () => file.truncate(sizeBytes)),
    sync: () => note('sync', path, () => file.sync()),
    dataSync: () => note('dataSync', path, () => file.dataSync()),
  });
  recorded.disk = {
    open: async (path, flags, mode) => record(path, await note('open', path, () => systemDisk.open(path, flags, mode))),
    syncDirectory: (folder) => note('syncDirectory', folder, () => systemDisk.syncDirectory(folder)),
    remove: (path) => note('remove', path, () => systemDisk.remove(path)),
  };
  return recorded;
}

/** What a failing system call throws. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: made up for a test`), { code });
}
