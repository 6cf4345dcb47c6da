import type { Clock } from '@felhom/kernel/clock.ts';
import type { PersistedMachine } from '@felhom/phases/persisted.ts';
import type { AlertPort } from '../alerts/alert.ts';
import type { ProjectFiles, StackEngine } from '../engine/stack-engine.ts';
import type { GuardPort, LockPort, SystemPort } from '../quiesce/ports.ts';
import type { KeptFile, UpgradeDebt } from './debt.ts';
import type { KnownBad, LastGood, UpgradeNotes } from './memory.ts';
import type { upgradeEdges } from './phases.ts';

/**
 * Everything an upgrade touches besides memory. The wiring builds the real ones, the crash simulation wraps every one
 * of them: nothing in upgrade/ may reach the world in another way.
 */
export interface UpgradePorts {
  clock: Clock;
  engine: StackEngine;
  debts: UpgradeDebtPort;
  /** Whether a run of another kind that was cut off still owes the stack something; what cannot be read counts. */
  othersOwe: (stack: string) => Promise<boolean>;
  /** The persisted phase machine of a stack. */
  machine: (stack: string) => UpgradeMachine;
  memory: MemoryPort;
  files: FilesPort;
  data: DataPort;
  probe: ProbePort;
  alerts: AlertPort;
  lock: LockPort;
  /** One command over upgrades at a time; held while images are fetched, when the run lock is not. */
  turn: TurnPort;
  guard: GuardPort;
  system: Pick<SystemPort, 'newRunId' | 'bootId' | 'isStopping'>;
  /** What a person may watch. Never throws, never blocks. */
  progress: (event: UpgradeEvent) => void;
}

export type UpgradeMachine = PersistedMachine<typeof upgradeEdges, UpgradeNotes>;

export type UpgradeEvent =
  | { kind: 'step'; stack: string; event: string; atMs: number }
  | { kind: 'note'; text: string }
  | { kind: 'warning'; text: string };

/** What the debt on disk turned out to be. One good copy of two is `present`. */
export type UpgradeDebtRead =
  | { kind: 'absent' }
  | { kind: 'present'; value: UpgradeDebt }
  | { kind: 'newer'; version: number }
  | { kind: 'unreadable'; reason: string; mtimeMs: number };

export interface UpgradeDebtPort {
  read(): Promise<UpgradeDebtRead>;
  /** Durable, twice, when it resolves. */
  write(debt: UpgradeDebt): Promise<void>;
  erase(): Promise<void>;
  /** Removes what a killed write left. Under the run lock. */
  sweep(): Promise<void>;
}

/** What is remembered of a stack between upgrades. */
export interface MemoryPort {
  /** Every stack that anything is remembered of. */
  stacks(): Promise<string[]>;
  lastGood(stack: string): Promise<LastGood | null>;
  saveLastGood(good: LastGood): Promise<void>;
  knownBad(stack: string): Promise<KnownBad[]>;
  addKnownBad(stack: string, bad: KnownBad): Promise<void>;
  /** Forgets them all; answers how many there were. */
  allow(stack: string): Promise<number>;
  /** Writes what pins the images of a rollback, as a Compose file of ours; answers its path. */
  writePins(stack: string, content: string): Promise<string>;
  /** Where `writePins` writes. */
  pinsPath(stack: string): string;
}

/** Compose and env files. */
export interface FilesPort {
  /** Every file that makes the project's definition: Compose files, env files, and those that these name. */
  belonging(project: ProjectFiles): Promise<string[]>;
  /** Those that are there. */
  keep(paths: readonly string[]): Promise<KeptFile[]>;
  /** Puts a file back as it was, as a whole, durable. */
  putBack(file: KeptFile): Promise<void>;
  /** The path, where such a file exists. */
  exists(path: string): Promise<boolean>;
  /** Where room would be set aside: one place on each file system of these folders. */
  roomFor(stack: string, folders: readonly string[]): Promise<string[]>;
  /** Sets room aside in these places. @throws Failure `no_space`. */
  reserve(places: readonly string[], bytes: number): Promise<void>;
  /** Gives it back. Gone already: fine. */
  release(places: readonly string[]): Promise<void>;
  /** The folders in which nothing can be written, or no room is left. */
  unwritable(folders: readonly string[], minFreeBytes: number): Promise<string[]>;
}

/** The stack's data, as volume snapshots keep it. */
export interface DataPort {
  plan(stack: string): Promise<DataPlan>;
  /** While the stack still runs. @throws Failure where there can be no snapshot, or no room for it. */
  prepare(stack: string): Promise<PreparedData>;
  /** The hashes of what was kept; apps may run. */
  seal(stack: string, id: string): Promise<void>;
  /** Reads all of it. @throws Failure: there is nothing that could be put back. */
  verify(stack: string, id: string): Promise<VerifiedData>;
}

/** A snapshot that was found whole. */
export interface VerifiedData {
  /**
   * No container of the stack is left. Can be called again after a crash at any step.
   * @throws Failure `apps_down`: half exchanged, and only recovery may go on; `busy`: an earlier one is. Anything else: nothing has changed.
   */
  restore(options: { inheritFds: readonly number[] }): Promise<void>;
}

export interface PreparedData {
  /** The stack is seen to be down. Complete and durable when it resolves. `isGood`: the last good data is this from now on. */
  keep(request: { reason: string; signal: AbortSignal; isGood: boolean }): Promise<{ id: string }>;
}

export interface DataPlan {
  /** Where the data lies. */
  folders: string[];
  leftOut: { what: string; why: string }[];
  shared: { source: string; container: string }[];
  obstacles: { what: string; why: string }[];
  /** `left`: data of what runs that the files name no more; `found`: volumes of theirs that are there and no container has. */
  moved: { left: string[]; found: string[] };
  /** For the snapshot, and for unpacking it again beside what is there. */
  neededBytes: number;
  /** For the latter alone. */
  restoreBytes: number;
  freeBytes: number;
}

export type Probe =
  | { kind: 'http'; url: string; status: { from: number; to: number } }
  | { kind: 'tcp'; host: string; port: number };

export interface ProbePort {
  /** One try; null: it answered as it should, else why not. */
  ask(probe: Probe, boundMs: number): Promise<string | null>;
}

export interface TurnPort {
  /** Null: another command over upgrades is at it. */
  take(): Promise<{ release(): Promise<void> } | null>;
}
