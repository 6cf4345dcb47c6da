import type { Clock } from '@felhom/kernel/clock.ts';
import type { PveClient } from '@felhom/proxmox/client.ts';
import type { DesiredProvider } from '../desired/provider.ts';
import type { MutationLanes } from '../lanes/lanes.ts';
import type { ActionJournal } from './action-journal.ts';
import type { ChangeHint } from './change-hint.ts';
import type { LastPass } from './last-pass.ts';

/** What reconcile asks of a node. Every call throws PveError, whose `outcomeUnknown` says what is known of the effect. */
export type ReconcileNode = Pick<PveClient, 'node' | 'user' | 'guests' | 'tasks' | 'nodes'>;

/**
 * Every effect of reconcile goes through one of these, handed in: wrapping them all (test/simulation) turns each effect
 * into a crash point.
 */
export interface ReconcilePorts {
  pve: ReconcileNode;
  desired: DesiredProvider;
  /** Which configurations need not be read again. */
  changes: ChangeHint;
  journal: ActionJournal;
  lanes: MutationLanes;
  /** Guests with a backup under way from the moment its gate opens, and its job: a held lane, whoever lives. */
  openJobs: () => Promise<ReadonlyMap<number, string>>;
  /** Why a person keeps this guest at this moment; null where nobody does. */
  heldNow: (vmid: number) => Promise<string | null>;
  memory: PassMemory;
  clock: Clock;
  newId: () => string;
  process: ProcessFacts;
  log: (message: string, fields?: Record<string, unknown>) => void;
}

/** Who we are. `upMs` counts since the boot of the host, for all processes alike, and never jumps. */
export interface ProcessFacts {
  pid: number;
  bootId: string;
  upMs: () => number;
}

/** What one pass leaves for the next, and for `status`. Losing it costs the age of locks, and nothing else. */
export interface PassMemory {
  read(): Promise<LastPass | null>;
  write(pass: LastPass): Promise<void>;
}

/** The bounds of reconcile, milliseconds, and its limits; see bounds.ts and config.ts for the defaults. */
export interface ReconcileLimits {
  lockPollMs: number;
  stuckMs: number;
  shutdownMs: number;
  taskWaitMs: number;
  taskPollMs: number;
  /** "Not started" is concluded no sooner than this after the intent. */
  lostStartMs: number;
  stopGraceMs: number;
  mutations: number;
  configReads: number;
}
