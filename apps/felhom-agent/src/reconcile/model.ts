/**
 * The values of reconcile: what was declared, what was observed, and the plan between the two. All of
 * them are plain data, so that planning is a function and its tests need no node.
 *
 * A field's value is text in its canonical form (reconcile/fields.ts): the same meaning is the same
 * text, whatever PVE made of it on the way. null is "the option is not there".
 */
export type GuestKind = 'lxc' | 'qemu';
export type RunState = 'running' | 'stopped';

export type FieldName =
  | 'cores'
  | 'memory'
  | 'swap'
  | 'hostname'
  | 'description'
  | 'tags'
  | 'onboot'
  | 'startup'
  | 'protection'
  | 'cpulimit'
  | 'cpuunits';

export type FieldValue = string | null;
/** What is declared of each field. A field that is not named is not managed. */
export type DesiredFields = Readonly<Partial<Record<FieldName, FieldValue>>>;

export interface DesiredGuest {
  vmid: number;
  /** The file or document that it came from. */
  source: string;
  /** Why a person keeps it, in its file or by `guest hold`. */
  held: string | null;
  /** null: its run state is not managed. */
  state: RunState | null;
  fields: DesiredFields;
}

/** A mistake in what was declared. It touches the guest that it is about, and no other. */
export interface DesiredProblem {
  source: string;
  /** The guest that it is about, as far as that can be told. */
  vmid: number | null;
  message: string;
  /** `source`: it is about where the declaration comes from as a whole, and no guest is left alone for it. */
  about?: 'source' | undefined;
}

export interface Desired {
  guests: readonly DesiredGuest[];
  problems: readonly DesiredProblem[];
  /** What tells this version of the declaration from another, where its source has such a thing. */
  version: string | null;
}

/** Options of a configuration as PVE gives them, numbers as text. */
export type Options = Readonly<Record<string, string>>;

export type ObservedConfig =
  /** `live` is in force now; in `pending` what waits for a restart is applied already. Without pending changes they are equal. */
  | { kind: 'read'; digest: string; live: Options; pending: Options }
  | { kind: 'unreadable'; why: string }
  /** Read not long ago, in sync with this very declaration, and proven not to have changed since. */
  | { kind: 'unchanged' }
  /** Nothing but the run state is declared. */
  | { kind: 'not-asked' };

export interface ActualGuest {
  vmid: number;
  kind: GuestKind;
  name: string;
  running: boolean;
  /** `backup`, `snapshot-delete`, …: the reason that PVE gives for its lock on the configuration. */
  lock: string | null;
  /** Since when the lock is known to stand, milliseconds since the epoch; null where nobody knows. */
  lockedSinceMs: number | null;
  haManaged: boolean;
  /** Bytes in use by the running guest; null where PVE does not tell. */
  memoryUsedBytes: number | null;
  template: boolean;
  config: ObservedConfig;
}

export interface Actual {
  node: string;
  /** Milliseconds since the epoch. */
  observedAtMs: number;
  guests: ReadonlyMap<number, ActualGuest>;
  /** Guests of the cluster that are on another node, and on which. */
  elsewhere: ReadonlyMap<number, string>;
}

/** One option to write or to remove; the rest of the configuration stays as it is. */
export type FieldWrite =
  | { set: readonly [option: string, value: string | number]; remove?: never }
  | { set?: never; remove: string };

export interface FieldChange {
  field: FieldName;
  /** What the option will be without us: the value that waits for a restart, if one does. */
  from: FieldValue;
  to: FieldValue;
  write: FieldWrite;
  effect: 'live' | 'restart';
}

export type Action =
  | { kind: 'configure'; vmid: number; guestKind: GuestKind; digest: string; changes: readonly FieldChange[] }
  | { kind: 'start'; vmid: number; guestKind: GuestKind }
  /** Asked to end first, ended hard when it does not. */
  | { kind: 'shutdown'; vmid: number; guestKind: GuestKind };

/**
 * - `in_sync`    nothing to do
 * - `drift`      its actions are to be done, in order
 * - `deferred`   something is to be done and must wait: a lock, a backup, a guard
 * - `held`       left to a person
 * - `absent`     declared, and nowhere; creating guests is not reconcile's business
 * - `elsewhere`  on another node, whose agent looks after it
 * - `failed`     what is declared cannot be had, or cannot be compared
 */
export type Standing = 'in_sync' | 'drift' | 'deferred' | 'held' | 'absent' | 'elsewhere' | 'failed';

/** A value that is written and waits for the guest's next start. */
export interface AwaitingRestart {
  field: FieldName;
  live: FieldValue;
  declared: FieldValue;
}

export interface GuestPlan {
  vmid: number;
  name: string | null;
  guestKind: GuestKind | null;
  standing: Standing;
  /** Why it stands so, or what is left out of its actions; null where nothing needs saying. */
  reason: string | null;
  /** What a person types. */
  hint: string | null;
  /** Empty unless its standing is `drift`. */
  actions: readonly Action[];
  awaitingRestart: readonly AwaitingRestart[];
}

export interface Refusal {
  reason: string;
  wouldStop: readonly number[];
  hint: string;
}

export interface Plan {
  node: string;
  /** Milliseconds since the epoch: when the node was looked at. */
  observedAtMs: number;
  /** By VMID. */
  guests: readonly GuestPlan[];
  /** Mistakes in the declaration that no guest can be named for. */
  problems: readonly DesiredProblem[];
  /** Guests that are to be stopped, now or once what they wait for is over; by VMID. No other may be stopped. */
  stops: readonly number[];
  /** A plan that stops too much: none of its actions may be done. */
  refused: Refusal | null;
}

export interface PlanOptions {
  /** How many guests the plan may stop, where that was said. */
  allowStops: number | null;
  allowMemoryBelowUse: boolean;
  /** Guests with a backup under way, and its job. */
  openJobs: ReadonlyMap<number, string>;
  nowMs: number;
  /** A lock older than this is called stuck. */
  stuckAfterMs: number;
}
