import type { Manifest } from './manifest.ts';
import type { MovedData } from './moved-data.ts';

/*
 * Volume snapshots: what belongs to a stack's data, kept as it was while the stack was seen to be down.
 *
 * For whoever upgrades a stack, in this order, holding the run lock:
 *   plan(stack)            while it runs: what a snapshot holds, what it leaves out, what makes it impossible; nothing is touched
 *   prepare(stack)         while it runs: the same as a promise; refuses where there can be none, or no room
 *   prepared.capture()     with the stack down: reads all data. Not durable yet
 *   captured.keep()        complete and durable from here on, `last-good` names it. Before anything of the new version exists
 *   seal(stack, id)        the hashes, with apps up: the only part whose time grows with the data on every file system
 *   restore(stack, id)     with the stack down: verifies everything first, then swaps under a debt of its own, which
 *                          `recover` settles (undone while it only unpacked, finished once the first rename was made)
 */

export interface VolumeSnapshots {
  /** Looks only. @throws Failure `not_found`, `operation_failed` (Compose refuses its files). */
  plan(stack: string): Promise<SnapshotPlan>;
  /**
   * The same, and refuses what cannot become a snapshot: to be called while the stack still runs, so that its downtime
   * begins with nothing left to ask. @throws Failure `snapshot_impossible`, `no_space`; nothing is touched.
   */
  prepare(stack: string): Promise<Prepared>;
  /** Computes and records the hashes of a kept snapshot, then old ones go. Twice equals once. */
  seal(stack: string, id: string): Promise<Snapshot>;
  /** Newest first; damaged ones too, with what is wrong. */
  list(stack: string): Promise<ListedSnapshot[]>;
  /** Every stack that has snapshots. */
  stacks(): Promise<string[]>;
  /** Reads everything and compares. @throws Failure `snapshot_damaged` with every fault, `not_found`. */
  verify(stack: string, id: string): Promise<Verified>;
  /**
   * Puts a snapshot's data back. Verifies everything before it touches anything.
   * @throws Failure `snapshot_damaged`, `stack_running`, `no_space`, `not_found`, `snapshot_impossible`: nothing was touched.
   * `apps_down`: the data is half exchanged, and only recovery may go on. Anything else: the data is as it was before.
   */
  restore(stack: string, id: string, request: RestoreRequest): Promise<Restored>;
  lastGood(stack: string): Promise<string | null>;
  /** Removes all but the newest `keep`; never the last good one. */
  prune(stack: string, keep: number): Promise<{ removed: string[]; kept: string[] }>;
}

/** What a snapshot of a stack would be. */
export interface SnapshotPlan {
  stack: string;
  project: StackProject;
  sources: PlannedSource[];
  /** Data of the stack that no snapshot holds: not rolled back. */
  leftOut: LeftOut[];
  /** Sources that a container outside the stack uses too. Reported; refuses an upgrade. */
  shared: SharedSource[];
  /** Where the files have its data elsewhere than its containers: an upgrade would begin without it. */
  moved: MovedData;
  /** Why there can be no snapshot that could be restored. Empty: there can. */
  obstacles: Obstacle[];
  /** Names of the stack's containers that run. */
  running: string[];
  contentBytes: number;
  /** What creating it takes at most, 10 % on top; 0 where every source is shared by reflink. */
  neededBytes: number;
  freeBytes: number;
}

/** Where a stack's files are, as Compose wrote it on the containers. */
export interface StackProject {
  workingDir: string | null;
  composeFiles: string[];
  envFiles: string[];
}

export interface Source {
  /** The volume's name, or the folder's path. */
  name: string;
  kind: 'volume' | 'bind';
  /** Where the data lies on this machine, with symbolic links resolved. */
  path: string;
  services: string[];
}

export interface PlannedSource extends Source {
  method: SourceMethod;
  contentBytes: number;
  sockets: string[];
  /** It is a mount point: it can be restored, by its contents. */
  isMountPoint: boolean;
}

/** `archive`: `tar --zstd`. `tree`: a copy that shares its blocks with the original (reflink). */
export type SourceMethod = 'archive' | 'tree';

export interface LeftOut {
  what: string;
  why: string;
}

export interface SharedSource {
  source: string;
  container: string;
  running: boolean;
}

export interface Obstacle {
  what: string;
  why: string;
}

export interface CaptureRequest {
  /** Kept in the manifest: `manual`, or what an upgrade goes to. */
  reason: string;
  /** Ends the programs that read; nothing is kept then. */
  signal?: AbortSignal;
  /**
   * The stack stays down until `keep()` has made it durable, as in an upgrade: then what was read is pushed to the disk
   * while the rest is read. Otherwise that is left for when the apps run again.
   */
  pushToDisk?: boolean;
}

/** A snapshot that can be taken as soon as the stack is down. */
export interface Prepared {
  readonly plan: SnapshotPlan;
  /**
   * The caller holds the run lock and has the stack down; that is looked at again before and after.
   * @throws Failure `stack_running`, `operation_failed`; then nothing is kept.
   */
  capture(request: CaptureRequest): Promise<Captured>;
}

/** Data that was read while the stack was down; nobody can see it yet. */
export interface Captured {
  /** Complete and durable when it resolves, and `last-good` names it, unless it is said not to be good. */
  keep(options?: { isGood: boolean }): Promise<Snapshot>;
  /** Removes what was read. */
  drop(): Promise<void>;
}

export interface Snapshot {
  id: string;
  manifest: Manifest;
  isLastGood: boolean;
}

export type ListedSnapshot =
  | ({ kind: 'readable' } & Snapshot)
  | { kind: 'damaged'; id: string; why: string; isLastGood: boolean };

export interface Verified extends Snapshot {
  /** False: it was kept and never sealed; sizes and the archives' own checksums were compared, no hashes. */
  hashed: boolean;
  notes: string[];
}

export interface RestoreRequest {
  /** Also puts Compose files, .env and env_files back. */
  files: boolean;
  /** `stack`: every source must belong to the stack as it is now. `snapshot`: it must only exist, as in a rollback. */
  trust: 'stack' | 'snapshot';
  /** The run lock: programs that unpack hold it too, so that recovery waits for them. */
  inheritFds: readonly number[];
  /** What `verify` answered a moment ago: it is not read once more. */
  verified?: Verified;
  /** Heeded until the swap begins. */
  signal?: AbortSignal;
}

export interface Restored {
  id: string;
  sources: string[];
  files: string[];
  notes: string[];
}
