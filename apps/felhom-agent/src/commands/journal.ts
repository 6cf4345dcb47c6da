import { readJournal } from '@felhom/durable/journal.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { loadAgentConfig } from '../load-config.ts';
import { describeOperation } from '../operations/payload.ts';
import type { Operation } from '../operations/record.ts';
import { operationRow, operationText } from '../operations/row.ts';
import { type ActionEntry, actionRecord, entriesOf } from '../reconcile/action-record.ts';
import { describeRecorded } from '../reconcile/describe-action.ts';
import { actionsPath, operationsFile, operationsPath } from '../state-files.ts';
import type { CommandContext } from './context.ts';

/*
 * Everything that was done to guests, from the two places where it is remembered: the journal of reconcile, and the
 * record of signed operations (ADR 9). Reads state only; a place that cannot be read is told, and the other one shown.
 */

interface Row {
  id: string;
  at: string;
  vmid: number;
  action: string;
  by: 'reconcile' | 'operation';
  /** Of the newest task that it started. */
  upid: string | null;
  /** `open`: nobody has seen its end. */
  outcome: string;
  reason: string | null;
  ended_at: string | null;
}

/** `journal list`: what was begun and how it ended, newest first. */
export async function journalList(
  context: CommandContext,
  { vmids, open, last }: { vmids: readonly number[]; open: boolean; last: number },
): Promise<void> {
  const { entries, operations, problems } = await readBoth(context);
  const rows = [...entries.map(actionRow), ...operations.map(asRow)]
    .filter(({ vmid, outcome }) => (vmids.length === 0 || vmids.includes(vmid)) && (!open || outcome === 'open'))
    .toSorted((a, b) => Date.parse(b.at) - Date.parse(a.at))
    .slice(0, last);
  const document = { schema: 'felhom.journal/1', entries: rows, problems } as const;
  context.reporter.result(document, () => listText(document.entries, problems));
}

/** `journal show ID`: one entry as it stands there. */
export async function journalShow(context: CommandContext, id: string): Promise<void> {
  const { entries, operations } = await readBoth(context);
  const operation = operations.find((each) => each.id === id);
  if (operation !== undefined) {
    const document = {
      schema: 'felhom.journal-entry/1',
      ...asRow(operation),
      operation: operationRow(operation),
    } as const;
    return context.reporter.result(document, () => operationText(operation));
  }
  const entry = entries.find(({ intent }) => intent.id === id);
  if (entry === undefined)
    throw new Failure('not_found', {
      message: `nothing on record has the id ${id}; every open entry is kept, and the newest that ended`,
      hint: 'felhom-agent journal list shows the ids.',
    });
  const { intent, end } = entry;
  const document = { schema: 'felhom.journal-entry/1', ...actionRow(entry), intent, end } as const;
  context.reporter.result(document, () => entryText(entry));
}

async function readBoth(
  context: CommandContext,
): Promise<{ entries: ActionEntry[]; operations: readonly Operation[]; problems: string[] }> {
  const { config } = await loadAgentConfig(context.flags.config);
  const { records, problems } = await readJournal({ path: actionsPath(config.state), schema: actionRecord });
  const found = await operationsFile(config.state).read();
  if (found.kind !== 'present' && found.kind !== 'absent') {
    const why = found.kind === 'newer' ? `version ${found.version} wrote it` : found.reason;
    problems.push(`${operationsPath(config.state)} cannot be read, so signed operations are not shown: ${why}`);
  }
  return { entries: entriesOf(records), operations: found.kind === 'present' ? found.value.operations : [], problems };
}

function actionRow({ intent, upid, end }: ActionEntry): Row {
  return {
    id: intent.id,
    at: intent.at,
    vmid: intent.vmid,
    action: describeRecorded(intent.action),
    by: intent.by,
    upid,
    outcome: end?.outcome ?? 'open',
    reason: end?.reason ?? null,
    ended_at: end?.at ?? null,
  };
}

function asRow({ id, accepted_at: at, payload, steps, outcome, reason, ended_at: endedAt }: Operation): Row {
  return {
    id,
    at,
    vmid: payload.vmid,
    action: describeOperation(payload),
    by: 'operation',
    upid: steps.at(-1)?.upid ?? null,
    outcome: outcome ?? 'open',
    reason,
    ended_at: endedAt,
  };
}

function listText(rows: readonly Row[], problems: readonly string[]): string {
  const lines = rows.map(
    ({ id, at, vmid, action, by, outcome, reason }) =>
      `${at}  ${id}  guest ${vmid}  ${by === 'operation' ? 'signed: ' : ''}${action}: ${outcome}${reason === null ? '' : `, ${reason}`}`,
  );
  return [
    ...problems.map((problem) => `ATTENTION  ${problem}`),
    ...(lines.length === 0 ? ['nothing is on record'] : lines),
  ].join('\n');
}

function entryText({ intent, upid, end }: ActionEntry): string {
  return [
    `${intent.id}  guest ${intent.vmid}: ${describeRecorded(intent.action)}`,
    `  intended   ${intent.at} by ${intent.by}, process ${intent.pid}`,
    `  task       ${upid ?? 'none is known'}`,
    end === null
      ? '  open: felhom-agent recover looks what became of it'
      : `  ended      ${end.at}: ${end.outcome}${end.reason === null ? '' : `, ${end.reason}`}`,
  ].join('\n');
}
