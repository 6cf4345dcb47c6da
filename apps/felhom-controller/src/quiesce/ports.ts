import type { AgentApi } from '@felhom/guest-api/agent-api.ts';
import type { JobStatus } from '@felhom/guest-api/schema.ts';
import type { Clock } from '@felhom/kernel/clock.ts';
import type { Engine } from '../engine/engine.ts';
import type { Marker } from './marker.ts';
import type { OtherDebts } from './other-debts.ts';
import type { RunResult } from './result.ts';

/**
 * Everything a run touches besides memory. The wiring builds the real ones, the crash simulation
 * wraps every one of them: nothing in quiesce/ may reach the world in another way.
 */
export interface RunPorts {
  clock: Clock;
  engine: Engine;
  markers: MarkerPort;
  lock: LockPort;
  agent: AgentPort;
  guard: GuardPort;
  history: HistoryPort;
  system: SystemPort;
  /** What else may be owed: settled by recovery, and before a run. */
  otherDebts?: readonly OtherDebts[];
  /** What a person may watch. Never throws, never blocks. */
  progress: (event: RunEvent) => void;
}

/** What recovery touches: no guard, and an agent only to tell it. */
export type RecoverPorts = Omit<RunPorts, 'guard'>;

/** What a marker on disk turned out to be. One good copy of two is `present`. */
export type MarkerRead =
  | { kind: 'absent' }
  | { kind: 'present'; value: Marker }
  | { kind: 'newer'; version: number }
  | { kind: 'unreadable'; reason: string; mtimeMs: number };

export interface MarkerPort {
  read(): Promise<MarkerRead>;
  /** What a newer version wrote, as far as our own fields are still in it. */
  readNewer(version: number): Promise<MarkerRead>;
  /** Durable when it resolves. */
  write(marker: Marker): Promise<void>;
  /** Durable when it resolves; absent is fine. */
  erase(): Promise<void>;
  /** Removes what a killed write left. Under the run lock. */
  sweep(): Promise<void>;
}

/** Who holds the run lock. `startTime` is field 22 of /proc/PID/stat: a pid alone may be somebody else's by now. */
export interface RunHolder {
  pid: number;
  startTime: string;
  what: 'backup' | 'recover' | 'upgrade' | 'snapshot';
  runId: string | null;
  /** Wall clock; null while nothing is down. */
  deadlineMs: number | null;
}

export interface HeldLock {
  /** Children that must be over before somebody else may act inherit these. */
  inheritFds: readonly number[];
  /** Best effort: the lock holds whatever its text says. */
  update(change: Pick<RunHolder, 'runId' | 'deadlineMs'>): Promise<void>;
  release(): Promise<void>;
}

export type LockAnswer = { kind: 'held'; lock: HeldLock } | { kind: 'busy'; holder: RunHolder | null };

export interface LockPort {
  /** Never waits. */
  acquire(what: RunHolder['what'], runId: string | null): Promise<LockAnswer>;
  isAlive(holder: RunHolder): Promise<boolean>;
  /** SIGKILL to exactly that process; fine when it is gone. */
  endHolder(holder: RunHolder): Promise<void>;
  /** Ends the process groups of whatever else still has the lock open (children of a dead holder). */
  endChildren(): Promise<void>;
}

/** The agent of the host, as packages/guest-api speaks to it. Its errors are `AgentError`s: a failed poll is unknown, not failed. */
export type AgentPort = Pick<AgentApi, 'start' | 'status' | 'quiesced' | 'resumed' | 'cancel' | 'report'>;

/** The process that outlives us: it recovers when our end of its pipe closes, or at the limit it was armed with. */
export interface GuardPort {
  /** Started early, while nothing is down: starting it must not delay a stop. */
  start(): Promise<StartedGuard>;
}

export interface StartedGuard {
  /** From now on it recovers at the latest after `limitMs`. */
  arm(limitMs: number): void;
  /** All is paid: it ends without recovering. Without this call it recovers when we are gone. */
  disarm(): void;
}

/** A run as history keeps it from its first moment. */
export interface OpenRun {
  runId: string;
  jobId: string | null;
  bootId: string;
  startedAtMs: number;
}

/** Past tense. A history that cannot be written never stops a cycle. */
export interface HistoryPort {
  begin(run: OpenRun): Promise<void>;
  end(run: OpenRun, result: RunResult): Promise<void>;
  /** Runs that began and never ended. */
  unfinished(): Promise<OpenRun[]>;
}

export interface SystemPort {
  newRunId(): string;
  bootId(): Promise<string>;
  /** The guest is shutting down (`systemctl is-system-running` says `stopping`). */
  isStopping(): Promise<boolean>;
  /** `sync -f` over these paths; paths that do not exist are fine. */
  syncData(paths: readonly string[], boundMs: number): Promise<void>;
  /** The container we live in ourselves, if any. */
  ownContainerId(): Promise<string | null>;
}

/** What a person watches: the timeline, and words in between. */
export type RunEvent =
  | { kind: 'timeline'; atMs: number; offsetMs: number; event: string; stack?: string }
  | { kind: 'job'; status: JobStatus }
  | { kind: 'note'; text: string }
  | { kind: 'warning'; text: string };
