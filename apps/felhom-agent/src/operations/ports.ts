import type { Clock } from '@felhom/kernel/clock.ts';
import type { GuestKind } from '../backup/ports.ts';
import type { Lane } from '../lanes/lanes.ts';
import type { OperationsFile, Step } from './record.ts';

/**
 * Every effect of an operation goes through one of these ports. Wrapping them all (test/simulation) turns each
 * effect into a crash point. Reads may be repeated; `pve.start` never is.
 */
export interface OperationPorts {
  store: OperationStore;
  pve: OperationPve;
  lanes: OperationLanes;
  archives: Archives;
  adoption: Adoption;
  clock: Clock;
  newId: () => string;
  /** A line for whoever watches. */
  say: (line: string) => void;
  bounds: OperationBounds;
}

export interface OperationBounds {
  /** "Not started" is concluded no sooner than this after the intent. */
  lostStartMs: number;
  /** How long an answer that was lost is looked for before the operation is left open. */
  giveUpMs: number;
  /** Between two looks. */
  everyMs: number;
}

export interface OperationStore {
  /** What is on record; the first read makes the agent's id. @throws Failure `state_unreadable`, `state_newer` */
  read(): Promise<OperationsFile>;
  /** Changes the record alone among all processes; durable when it resolves. What `change` throws leaves it as it was. */
  change<T>(change: (file: OperationsFile) => { file: OperationsFile; answer: T }): Promise<T>;
}

export interface OperationLanes {
  /** The lane of a guest, or null when another process of ours holds it. */
  tryGuest(vmid: number): Promise<Lane | null>;
  /** Why the lane counts as held although no process holds it (a backup job that is open in the journal), or null. */
  heldBy(vmid: number): Promise<string | null>;
}

export interface TargetGuest {
  vmid: number;
  kind: GuestKind;
  running: boolean;
  lock: string | null;
  template: boolean;
  protected: boolean;
  configDigest: string;
  /** The volume of a container's rootfs, of a VM's first disk; null where there is none. */
  rootVolume: string | null;
  /** What a restore over the guest destroys and no backup of it holds, each as a person finds it in its configuration. */
  unsaved: readonly string[];
}

export interface TargetBackup {
  volid: string;
  vmid: number;
  kind: GuestKind | null;
  /** null where the storage does not tell. */
  sizeBytes: number | null;
  protected: boolean;
  verification: 'ok' | 'failed' | null;
  /** The file on this node; null where there is none. */
  path: string | null;
}

export interface TargetSnapshot {
  name: string;
  takenSeconds: number | null;
}

/** What is about to be asked of PVE, in full. */
export type Act =
  | { kind: 'delete-backup'; vmid: number; volid: string }
  | { kind: 'destroy-guest'; vmid: number; guestKind: GuestKind; purge: boolean; unreferencedDisks: boolean }
  | { kind: 'rollback'; vmid: number; guestKind: GuestKind; snapshot: string }
  | { kind: 'safety-backup'; vmid: number; guestKind: GuestKind; storage: string; mark: string }
  | { kind: 'restore'; vmid: number; guestKind: GuestKind; volid: string; storage: string | null };

export type ActAnswer =
  | { kind: 'started'; upid: string }
  /** PVE said no: certainly nothing was done. */
  | { kind: 'refused'; why: string }
  /** No answer, or none of PVE's own: it may have been started. */
  | { kind: 'lost'; why: string };

/** The task of an act whose answer is not known. */
export interface LostAct {
  act: Act;
  sinceSeconds: number;
  /** How old the intent is at the least. */
  intentAgeMs: number;
  certainAfterMs: number;
  /** Tasks of operations on record: none of them is this one's. */
  known: readonly string[];
}

export type FoundAct = { kind: 'found'; upid: string } | { kind: 'not-started' } | { kind: 'undecided'; why: string };

export type ActEnd =
  | { kind: 'ok'; volid: string | null }
  | { kind: 'failed'; reason: string }
  /** PVE knows no such task (any more). */
  | { kind: 'unknown' }
  /** The signal ended the following; the task goes on. */
  | { kind: 'aborted' };

export interface OperationPve {
  readonly node: string;
  /** A guest of this node; null when it is not here. */
  guest(vmid: number): Promise<TargetGuest | null>;
  snapshots(guest: { vmid: number; kind: GuestKind }): Promise<TargetSnapshot[]>;
  /** null: the storage has no such backup. */
  backup(volid: string): Promise<TargetBackup | null>;
  /** The node's clock, whole seconds. */
  clockSeconds(): Promise<number>;
  /** Asks for it, once. Never throws for what PVE says. */
  start(act: Act): Promise<ActAnswer>;
  /** Looks once. Never throws for what PVE says. */
  find(question: LostAct): Promise<FoundAct>;
  /** Waits for the task's end, through failing polls. */
  follow(upid: string, act: Act, signal: AbortSignal | undefined): Promise<ActEnd>;
  /** @throws PveError */
  startGuest(guest: { vmid: number; kind: GuestKind }): Promise<void>;
}

export type ArchiveReading =
  /** Read from its first byte to its last. */
  | { kind: 'whole'; how: string }
  | { kind: 'unreadable'; why: string }
  /** It cannot be read from here. */
  | { kind: 'unproven'; why: string };

export interface Archives {
  read(backup: TargetBackup, signal: AbortSignal | undefined): Promise<ArchiveReading>;
}

export interface Adoption {
  /**
   * The guest was put back to an earlier time by us: what it presents from now on is the guest's own. Twice is
   * fine. Answers what a person has to do, or null.
   */
  adopt(vmid: number): Promise<string | null>;
}

export type StepAct = Step['act'];
