import { constants } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';

/** An open file, reduced to what durable writing needs. */
export interface DiskFile {
  readonly fd: number;
  /** One write(2) at `position`: answers how many bytes were taken, which on a full disk is fewer than given. */
  write(bytes: Uint8Array, position: number): Promise<number>;
  /** Writes all of it from the start of the file, or throws (ENOSPC, EIO). */
  writeAll(content: string | Uint8Array): Promise<void>;
  readAll(): Promise<Buffer>;
  /** Everything from byte `position` to the end, however often it is asked. */
  readFrom(position: number): Promise<Buffer>;
  truncate(sizeBytes: number): Promise<void>;
  /** fsync(2): data and metadata of the file, not its name in the folder. */
  sync(): Promise<void>;
  /** fdatasync(2): the data, and the size where it changed. */
  dataSync(): Promise<void>;
  stat(): Promise<FileIdentity>;
  close(): Promise<void>;
}

/** What tells one file from another, and what kind it is. */
export interface FileIdentity {
  dev: number;
  ino: number;
  sizeBytes: number;
  mtimeMs: number;
  isFile: boolean;
}

/**
 * The one door to the disk for everything that must survive a crash. It exists so that tests can
 * see in which order files and folders are synced, and make each of those steps fail.
 */
export interface Disk {
  /** Never follows a symbolic link in the last part of the path. */
  open(path: string, flags: number, mode?: number): Promise<DiskFile>;
  /** Makes the names in `folder` durable: a rename, a new file, a removal. */
  syncDirectory(folder: string): Promise<void>;
  /** Removes a file; false when there was none. */
  remove(path: string): Promise<boolean>;
}

/** The code of a failed system call (`ENOSPC`), or an empty string for any other error. */
export function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

async function openFile(path: string, flags: number, mode = 0o600): Promise<DiskFile> {
  const handle = await open(path, flags | constants.O_NOFOLLOW, mode);
  return {
    fd: handle.fd,
    write: async (bytes, position) => (await handle.write(bytes, 0, bytes.length, position)).bytesWritten,
    writeAll: (content) => handle.writeFile(content),
    readAll: () => handle.readFile(),
    readFrom: (position) => readFrom(handle, position),
    truncate: (sizeBytes) => handle.truncate(sizeBytes),
    sync: () => handle.sync(),
    dataSync: () => handle.datasync(),
    stat: async () => {
      const seen = await handle.stat();
      return { dev: seen.dev, ino: seen.ino, sizeBytes: seen.size, mtimeMs: seen.mtimeMs, isFile: seen.isFile() };
    },
    close: () => handle.close(),
  };
}

async function readFrom(handle: FileHandle, position: number): Promise<Buffer> {
  const bytes = Buffer.alloc(Math.max(0, (await handle.stat()).size - position));
  let filled = 0;
  while (filled < bytes.length) {
    const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

async function syncDirectory(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function removePath(path: string): Promise<boolean> {
  try {
    await unlink(path);
    return true;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}

export const systemDisk: Disk = { open: openFile, syncDirectory, remove: removePath };
