import type { Exclusion } from '@felhom/guest-api/schema.ts';
import type { Lanes } from '../lanes/lanes.ts';
import type { Job, JobRecord } from './job.ts';

/**
 * Every effect of a backup job goes through one of these ports, handed in as `JobPorts`. Wrapping
 * them all (see test/simulation) turns each effect into a crash point.
 *
 * - `Hypervisor`  what is asked of PVE. Reads may be repeated; `startBackup` never is.
 * - `JournalPort` the durable record of jobs. `append` resolves when the record is on disk.
 * - `Lanes`       flocks: one per guest, one slot per node. Freed by the kernel when we die.
 * - `RootHelper`  the fixed verbs that need root.
 * - `Alerts`      what a person has to look at, kept durably until it is no longer so.
 * - `Clock`       time, from packages/kernel.
 * - `Generations` told of every snapshot seen of a guest, so that a copy is told from the guest.
 *
 * Whatever comes back from PVE is one of the values below or a thrown PveProblem; `kind: 'unknown'`
 * means that the call may have had its effect.
 */
export interface JobPorts {
  pve: Hypervisor;
  journal: JournalPort;
  lanes: Lanes;
  helper: RootHelper;
  alerts: Alerts;
  generations: Generations;
}

export type GuestKind = 'lxc' | 'qemu';

export interface GuestNow {
  vmid: number;
  kind: GuestKind;
  name: string;
  running: boolean;
  /** `backup`, `snapshot`, … while PVE holds a lock on it. */
  lock: string | null;
}

export interface StorageNow {
  name: string;
  /** `dir`, `pbs`, … */
  type: string;
  active: boolean;
  totalBytes: number;
  availableBytes: number;
}

export interface BackupItem {
  volid: string;
  vmid: number;
  /** Seconds since the epoch, PVE's clock. */
  ctimeSeconds: number;
  sizeBytes: number | null;
  /** First line of the notes. */
  notes: string;
  protected: boolean;
}

/** What a vzdump of the guest would include, as its configuration says. */
export interface GuestVolumes {
  included: { mount: string; storage: string }[];
  excluded: Exclusion[];
  /** A storage type that makes no snapshots holds an included volume. */
  snapshotsPossible: boolean | 'unknown';
  haManaged: boolean;
}

export interface BackupRequest {
  vmid: number;
  storage: string;
  mode: 'snapshot' | 'suspend' | 'stop';
  compress: string;
  /** Line 1 of the notes, repeated in line 1 of the task log: how a lost answer is resolved. */
  mark: string;
  lockwaitMinutes: number;
}

export type StartedBackup = { kind: 'started'; upid: string } | { kind: 'elsewhere' };

export interface LostStart {
  vmid: number;
  mark: string;
  sinceSeconds: number;
  intentAgeMs: number;
  certainAfterMs: number;
}

export type FoundStart = { kind: 'found'; upid: string } | { kind: 'not-started' } | { kind: 'undecided'; why: string };

export interface TaskNow {
  running: boolean;
  /** `OK`, `WARNINGS: 1`, `job errors`, …; null while running. */
  exitStatus: string | null;
}

export interface TaskItem {
  upid: string;
  type: string;
  startSeconds: number;
  pid: number;
  running: boolean;
  status: string | null;
}

/** What the task log says of one guest so far. */
export interface GuestLog {
  mode: 'snapshot' | 'suspend' | 'stop' | null;
  /** Whether the guest ran when its backup began. */
  wasRunning: boolean | null;
  /** The storage snapshot is being made, or the guest is suspended: frozen from here to the proof. */
  freezing: boolean;
  /** vzdump has passed the point at which its hook asks us (`pre-stop`). */
  pastGate: boolean;
  /** The line that proves the point in time, or null. */
  proof: string | null;
  excluded: Exclusion[];
  progress: number | null;
  sizeBytes: number | null;
  volid: string | null;
  end: 'finished' | 'failed' | null;
  reason: string | null;
  /** vzdump waits for its node lock. */
  waiting: boolean;
}

/** Reads a task log line by line; pure. */
export interface LogReader {
  feed(lines: readonly string[]): void;
  guest(vmid: number): GuestLog;
  /** An error of the whole task, where the log has one. */
  readonly taskError: string | null;
}

export interface Hypervisor {
  readonly node: string;
  /** Guests on this node. */
  guests(): Promise<GuestNow[]>;
  /** One guest on this node, freshly; null when it is not here. */
  guest(vmid: number): Promise<GuestNow | null>;
  /** The node on which a guest of the cluster is; null when there is none. */
  whereIs(vmid: number): Promise<string | null>;
  volumes(guest: GuestNow): Promise<GuestVolumes>;
  startBackup(request: BackupRequest): Promise<StartedBackup>;
  /** Looks once for the vzdump task whose log carries the mark. Never throws for what PVE says. */
  findStarted(question: LostStart): Promise<FoundStart>;
  tasks(query: { vmid?: number; sinceSeconds?: number; source: 'active' | 'all' }): Promise<TaskItem[]>;
  task(upid: string): Promise<TaskNow>;
  /** Lines from the `start`-th on, 0-based. */
  taskLog(upid: string, start: number): Promise<string[]>;
  stopTask(upid: string): Promise<void>;
  /** Answers the UPID of the start task. */
  startGuest(guest: GuestNow): Promise<string>;
  storage(name: string): Promise<StorageNow | null>;
  backups(storage: string, vmid?: number): Promise<BackupItem[]>;
  writeNotes(storage: string, volid: string, notes: string): Promise<void>;
  logReader(storage: string | null): LogReader;
}

export interface JournalPort {
  /** Resolves when `record` is durable. Grouped: several callers share one write. */
  append(record: JobRecord): Promise<void>;
}

export interface RootHelper {
  /** `lxc-unfreeze -n VMID`. False where there is no helper or it failed. */
  unfreeze(vmid: number): Promise<boolean>;
}

export interface Alert {
  key: string;
  vmid: number | null;
  message: string;
  hint: string;
  at: string;
}

export interface Alerts {
  raise(alert: Omit<Alert, 'at'>): void;
  clear(key: string): void;
  list(): readonly Alert[];
}

export interface Generations {
  /** A point in time of this guest was captured: what is in it is from now on older. */
  raise(vmid: number): Promise<void>;
}

/** How a job's state is told to whoever waits for it. */
export type JobListener = (job: Job, before: Job | null) => void;

export type PveProblemKind = 'unknown' | 'refused' | 'failed';

/** A call to PVE that did not go well. `unknown`: it may have had its effect. */
export class PveProblem extends Error {
  override readonly name = 'PveProblem';
  readonly kind: PveProblemKind;

  constructor(kind: PveProblemKind, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
  }
}
