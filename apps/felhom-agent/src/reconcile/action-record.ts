import { z } from 'zod';

/**
 * What the journal of reconcile holds (`actions.jsonl`); several processes at a time write it. Signed operations are
 * remembered elsewhere (operations/record.ts, ADR 9). An action is told by up to three records: the intent, durable before the call; the task that the call
 * started; how it ended. An intent without an end is open: whoever finds it looks at the node before anything else is
 * done to that guest.
 */
const when = z.iso.datetime();

export const recordedAction = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('configure'),
    set: z.record(z.string(), z.union([z.string(), z.number()])),
    remove: z.array(z.string()),
    /** Of the configuration that the change was planned on. PVE refuses the write when it is another by then. */
    digest: z.string(),
    /** For people: `cores 2 -> 4`. */
    text: z.string(),
  }),
  z.object({ kind: z.literal('start') }),
  z.object({ kind: z.literal('shutdown') }),
]);
export type RecordedAction = z.infer<typeof recordedAction>;

export const actionOutcome = z.enum([
  /** It took effect, or what it wanted was seen to hold. */
  'done',
  /** PVE refused it, or its task failed. */
  'failed',
  /** It never took effect: the call was lost on its way, or was not sent. */
  'void',
  /** Somebody else changed the guest first: it is planned anew. */
  'superseded',
  /** It may have taken effect in part, and is never tried again by itself. */
  'interrupted',
]);
export type ActionOutcome = z.infer<typeof actionOutcome>;

export const intentRecord = z.object({
  kind: z.literal('intent'),
  id: z.string().min(1),
  /** Idempotency key: an intent whose key is on record is never begun again. */
  key: z.string().min(1),
  at: when,
  /** The node's clock just before the call, in seconds since the epoch; null where it was not asked. */
  node_seconds: z.number().int().nullable(),
  node: z.string(),
  vmid: z.number().int(),
  guest_kind: z.enum(['lxc', 'qemu']).nullable(),
  action: recordedAction,
  by: z.literal('reconcile'),
  /** The process that began it, for people. Whether it lives is told by the guest's lane alone. */
  pid: z.number().int(),
  boot_id: z.string(),
  /** Milliseconds since that boot: how old an intent is must not depend on a clock that jumps. */
  boot_ms: z.number(),
  /** Tasks of the guest that were there already just before the call: none of them is ours. */
  known: z.array(z.string()),
});
export type Intent = z.infer<typeof intentRecord>;

export const actionRecord = z.discriminatedUnion('kind', [
  intentRecord,
  z.object({ kind: z.literal('started'), id: z.string(), at: when, upid: z.string() }),
  z.object({
    kind: z.literal('ended'),
    id: z.string(),
    at: when,
    outcome: actionOutcome,
    reason: z.string().nullable(),
  }),
]);
export type ActionRecord = z.infer<typeof actionRecord>;

/** One action as its records tell it. */
export interface ActionEntry {
  intent: Intent;
  upid: string | null;
  end: { at: string; outcome: ActionOutcome; reason: string | null } | null;
}

/** The actions that `records` tell of, oldest first. The first end counts; what names no intent is dropped. */
export function entriesOf(records: readonly ActionRecord[]): ActionEntry[] {
  const entries = new Map<string, ActionEntry>();
  for (const record of records) {
    if (record.kind === 'intent') {
      entries.set(record.id, { intent: record, upid: null, end: null });
      continue;
    }
    const entry = entries.get(record.id);
    if (entry === undefined) continue;
    if (record.kind === 'started') entry.upid = record.upid;
    else entry.end ??= { at: record.at, outcome: record.outcome, reason: record.reason };
  }
  return [...entries.values()];
}

/** What compaction keeps: every open entry, and the newest `keepEnded` that ended. */
export function keepActions(records: readonly ActionRecord[], keepEnded: number): ActionRecord[] {
  const entries = entriesOf(records);
  const ended = entries.filter((entry) => entry.end !== null).slice(-keepEnded);
  const kept = new Set([...entries.filter((entry) => entry.end === null), ...ended].map(({ intent }) => intent.id));
  return records.filter(({ id }) => kept.has(id));
}
