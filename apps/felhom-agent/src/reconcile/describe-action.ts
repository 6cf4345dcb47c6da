import type { RecordedAction } from './action-record.ts';
import type { Action, FieldChange } from './model.ts';
import { showField } from './plan-fields.ts';

const longest = 60;

/** One action in a few words: `start`, `cores 2 -> 4, memory 2GiB -> 4GiB`. Pure. */
export function describeAction(action: Action): string {
  if (action.kind !== 'configure') return action.kind === 'start' ? 'start' : 'shut down';
  return action.changes.map(describeChange).join(', ');
}

export function describeRecorded(action: RecordedAction): string {
  if (action.kind === 'configure') return action.text;
  return action.kind === 'start' ? 'start' : 'shut down';
}

function describeChange({ field, from, to }: FieldChange): string {
  return `${field} ${shorten(showField(field, from))} -> ${shorten(showField(field, to))}`;
}

/** A description can be a whole page, with line ends and worse in it. */
function shorten(text: string): string {
  // Its own quotes need no escape here.
  const line = JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"');
  return line.length > longest ? `${line.slice(0, longest)}…` : line;
}

/** The action as it is journaled: with what is written, so that its effect can be told later. */
export function toRecorded(action: Action): RecordedAction {
  if (action.kind !== 'configure') return { kind: action.kind };
  const set: Record<string, string | number> = {};
  const remove: string[] = [];
  for (const { write } of action.changes) {
    if (write.set !== undefined) set[write.set[0]] = write.set[1];
    else remove.push(write.remove);
  }
  return { kind: 'configure', set, remove, digest: action.digest, text: describeAction(action) };
}
