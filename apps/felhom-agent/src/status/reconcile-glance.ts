import { type Fields, list, type StateReading, word } from './state-reading.ts';

/** What the newest pass of reconcile left, and what nobody saw the end of; as glance.ts reads it. */
export interface ReconcileGlance {
  /** null: there was no pass yet. */
  last: { ended_at: string; outcome: string; declared: number; apart: GuestApart[] } | null;
  /** Actions without an end: under way, or left by a process that died. */
  open: { id: string; vmid: number; at: string }[];
}

/** A guest that is not as declared, and since when. */
export interface GuestApart {
  vmid: number;
  outcome: string;
  reason: string | null;
  hint: string | null;
  since: string;
}

export function reconcileAt(reading: StateReading): ReconcileGlance {
  const last = reading.value('reconcile.json');
  const ended = word(last['ended_at']);
  return {
    last:
      ended === null
        ? null
        : {
            ended_at: ended,
            outcome: String(last['outcome']),
            declared: Number(last['declared'] ?? 0),
            apart: list(last['guests']).map(toApart),
          },
    open: openActions(reading.records('actions.jsonl')),
  };
}

function openActions(records: readonly Fields[]): ReconcileGlance['open'] {
  const open = new Map<string, ReconcileGlance['open'][number]>();
  for (const record of records) {
    const id = String(record['id']);
    if (record['kind'] === 'intent') open.set(id, { id, vmid: Number(record['vmid']), at: String(record['at']) });
    if (record['kind'] === 'ended') open.delete(id);
  }
  return [...open.values()];
}

const longMs = 15 * 60_000;
const longDeferredMs = 3_600_000;

/** What of it needs a person. `nowMs` is wall time. Pure. */
export function reconcileAttention(
  { last, open }: ReconcileGlance,
  nowMs: number,
): { message: string; hint: string }[] {
  const isOlder = (at: string, ms: number): boolean => nowMs - Date.parse(at) > ms;
  const forgotten = open
    .filter(({ at }) => isOlder(at, longMs))
    .map(({ id, vmid }) => ({
      message: `what became of an action on guest ${vmid} is not known (${id})`,
      hint: `felhom-agent recover looks; felhom-agent journal show ${id} tells what it was.`,
    }));
  const apart = (last?.apart ?? [])
    .filter(({ outcome, since }) => outcome === 'failed' || (outcome === 'deferred' && isOlder(since, longDeferredMs)))
    .map(({ vmid, reason, hint, since }) => ({
      message: `guest ${vmid} is not as declared since ${since}: ${reason ?? 'no reason is on record'}`,
      hint: hint ?? `felhom-agent plan ${vmid}`,
    }));
  const refused =
    last?.outcome === 'refused'
      ? [{ message: 'the plan would stop too many guests; nothing of it was done', hint: 'felhom-agent plan' }]
      : [];
  return [...forgotten, ...apart, ...refused];
}

function toApart({ vmid, outcome, reason, hint, since }: Fields): GuestApart {
  return {
    vmid: Number(vmid),
    outcome: String(outcome),
    reason: word(reason),
    hint: word(hint),
    since: word(since) ?? '',
  };
}
