import type { MarkerStore } from '@felhom/durable/marker-store.ts';
import type { Clock } from '@felhom/kernel/clock.ts';
import type { VolumeEngine } from '../engine/volume-engine.ts';
import type { SourceMethod } from './contract.ts';
import type { Mount } from './mounts.ts';
import type { RestoreDebt } from './restore-debt.ts';

/** Everything that snapshots touch besides memory. */
export interface SnapshotPorts {
  clock: Clock;
  engine: VolumeEngine;
  disk: SnapshotDisk;
  archiver: Archiver;
  debts: RestoreDebtPort;
}

/** The file system, as far as snapshots need it. A path that is not there is a value where it says null. */
export interface SnapshotDisk {
  /** Never follows a link in the last part. */
  kindOf(path: string): Promise<'folder' | 'file' | 'other' | null>;
  /** With every link resolved; null: not there. */
  resolve(path: string): Promise<string | null>;
  /** Names in a folder, sorted; none where there is no folder. */
  list(folder: string): Promise<string[]>;
  /** 0700, with what is missing above. */
  makeFolder(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Hard link. */
  link(from: string, to: string): Promise<void>;
  /** A file or a whole tree; never crosses into another file system; fine where there is nothing. */
  remove(path: string): Promise<void>;
  /** fsync of a folder: its names are durable. */
  syncFolder(path: string): Promise<void>;
  /** syncfs: everything of the file system that holds `path` is durable. */
  syncAll(path: string): Promise<void>;
  freeBytes(path: string): Promise<number>;
  mounts(): Promise<Mount[]>;
  read(path: string): Promise<StoredFile | null>;
  /** Durable as a file, not as a name: `syncFolder` is the caller's. */
  write(path: string, file: StoredFile): Promise<void>;
  sizeOf(path: string): Promise<number>;
  /** Gives a folder the mode and owner of another. */
  copyAttributes(from: string, to: string): Promise<void>;
  newId(nowMs: number): string;
}

export interface StoredFile {
  bytes: Uint8Array;
  mode: number;
  uid: number;
  gid: number;
}

/** What lies in a source, looked at without reading it. */
export interface Measure {
  /** Allocated, so that holes are not counted. */
  bytes: number;
  entries: number;
  /** Relative paths. */
  sockets: string[];
  devices: string[];
}

/** One member of an archive or a tree. */
export interface Member {
  kind: 'folder' | 'file' | 'link' | 'hardlink' | 'fifo' | 'device' | 'socket' | 'other';
  /** As stored, relative to the source. */
  path: string;
  /** Of links: as stored. */
  target: string | null;
}

export interface ReadOptions {
  signal?: AbortSignal;
  /** Have the disk write meanwhile. */
  pushToDisk?: boolean;
}

/** The programs that copy data: tar, zstd, cp. */
export interface Archiver {
  measure(folder: string): Promise<Measure>;
  /** Whether copies from `folder` into `into` can share blocks: tried, not guessed. */
  canShare(folder: string, into: string): Promise<boolean>;
  /** Reads the folder into a new file or tree. Not durable. @throws Failure `operation_failed`, also where something changed while it was read. */
  capture(folder: string, into: string, method: SourceMethod, options?: ReadOptions): Promise<void>;
  /** SHA-256 over an archive's bytes, or over a tree's names, kinds, owners, modes, times and contents. */
  digest(stored: string, method: SourceMethod): Promise<string>;
  /** Every member, in order. @throws Failure `snapshot_damaged` where it cannot be read to its end. */
  members(stored: string, method: SourceMethod, onMember: (member: Member) => void): Promise<void>;
  /** Bytes that unpacking writes at most. */
  unpack(
    stored: string,
    into: string,
    method: SourceMethod,
    options: { inheritFds: readonly number[]; signal?: AbortSignal },
  ): Promise<void>;
}

/** The marker of a restore under way. One at a time: whoever restores holds the run lock. */
export type RestoreDebtPort = MarkerStore<RestoreDebt>;
