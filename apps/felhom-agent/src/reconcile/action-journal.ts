import type { SharedJournal } from '@felhom/durable/shared-journal.ts';
import type { Clock } from '@felhom/kernel/clock.ts';
import { type ActionEntry, type ActionOutcome, type ActionRecord, entriesOf, type Intent } from './action-record.ts';
import type { ProcessFacts } from './ports.ts';

export type Begun =
  /** On the disk. `bootMs`: when it was written, as it stands in the record. */
  | { kind: 'begun'; bootMs: number }
  /** The guest has an entry that nobody ended: it is resolved first. */
  | { kind: 'open'; entry: ActionEntry }
  /** This very action was begun before, whatever became of it. */
  | { kind: 'repeated'; entry: ActionEntry };

/**
 * The record of mutations. Invariant: no call to PVE that changes a guest without a `begun` of its own, durable before
 * it. Looking and recording are one piece for all processes, so of two that want the same guest one sees the other.
 * Throws Failure `state_unwritable` and `busy` as the journal does: nothing is called then.
 */
export interface ActionJournal {
  entries(): Promise<ActionEntry[]>;
  /** The lock may have to be waited for: the times of the intent are those of the moment in which it is written. */
  begin(intent: NewIntent): Promise<Begun>;
  started(id: string, upid: string): Promise<void>;
  /** The first end of an action counts; of two processes that resolved it, the later one's changes nothing. */
  ended(id: string, outcome: ActionOutcome, reason: string | null): Promise<void>;
}

export type NewIntent = Omit<Intent, 'kind' | 'at' | 'boot_ms'>;

export function actionJournal(
  journal: Pick<SharedJournal<ActionRecord>, 'refresh' | 'decide'>,
  clock: Pick<Clock, 'nowMs'> & Pick<ProcessFacts, 'upMs'>,
): ActionJournal {
  const now = (): string => new Date(clock.nowMs()).toISOString();
  return {
    entries: async () => entriesOf(await journal.refresh()),
    begin: async (intent) =>
      await journal.decide<Begun>((records) => {
        const entries = entriesOf(records);
        const twin = entries.find((entry) => entry.intent.key === intent.key);
        if (twin !== undefined) return { append: [], answer: { kind: 'repeated', entry: twin } };
        const open = entries.find((entry) => entry.end === null && entry.intent.vmid === intent.vmid);
        if (open !== undefined) return { append: [], answer: { kind: 'open', entry: open } };
        const bootMs = clock.upMs();
        return {
          append: [{ kind: 'intent', at: now(), boot_ms: bootMs, ...intent }],
          answer: { kind: 'begun', bootMs },
        };
      }),
    started: async (id, upid) => {
      await journal.decide(() => ({ append: [{ kind: 'started', id, at: now(), upid }], answer: null }));
    },
    ended: async (id, outcome, reason) => {
      await journal.decide((records) => {
        const isOpen = entriesOf(records).some((entry) => entry.intent.id === id && entry.end === null);
        return { append: isOpen ? [{ kind: 'ended', id, at: now(), outcome, reason }] : [], answer: null };
      });
    },
  };
}
