import { readJournal } from '@felhom/durable/journal.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { loadAgentConfig } from '../load-config.ts';
import { type ActionEntry, actionRecord, entriesOf } from '../reconcile/action-record.ts';
import { describeRecorded } from '../reconcile/describe-action.ts';
import { actionsPath } from '../state-files.ts';
import type { CommandContext } from './context.ts';

interface Row {
  id: string;
  at: string;
  vmid: number;
  action: string;
  by: 'reconcile' | 'operation';
  upid: string | null;
  /** `open`: nobody has seen its end. */
  outcome: string;
  reason: string | null;
  ended_at: string | null;
}

/** `journal list`: what was begun and how it ended, newest first; reads state only. */
export async function journalList(
  context: CommandContext,
  { vmids, open, last }: { vmids: readonly number[]; open: boolean; last: number },
): Promise<void> {
  const { entries, problems } = await readEntries(context);
  const chosen = entries
    .filter(({ intent, end }) => (vmids.length === 0 || vmids.includes(intent.vmid)) && (!open || end === null))
    .toReversed()
    .slice(0, last);
  const document = { schema: 'felhom.journal/1', entries: chosen.map(toRow), problems } as const;
  context.reporter.result(document, () => listText(document.entries, problems));
}

/** `journal show ID`: one entry as it stands in the journal. */
export async function journalShow(context: CommandContext, id: string): Promise<void> {
  const { entries } = await readEntries(context);
  const entry = entries.find(({ intent }) => intent.id === id);
  if (entry === undefined)
    throw new Failure('not_found', {
      message: `the journal has no entry ${id}; it keeps every open one and the newest that ended`,
      hint: 'felhom-agent journal list shows the ids.',
    });
  const { intent, upid, end } = entry;
  const document = { schema: 'felhom.journal-entry/1', ...toRow(entry), intent, end } as const;
  context.reporter.result(document, () =>
    [
      `${intent.id}  guest ${intent.vmid}: ${describeRecorded(intent.action)}`,
      `  intended   ${intent.at} by ${intent.by}, process ${intent.pid}`,
      `  task       ${upid ?? 'none is known'}`,
      end === null
        ? '  open: felhom-agent recover looks what became of it'
        : `  ended      ${end.at}: ${end.outcome}${end.reason === null ? '' : `, ${end.reason}`}`,
    ].join('\n'),
  );
}

async function readEntries(context: CommandContext): Promise<{ entries: ActionEntry[]; problems: string[] }> {
  const { config } = await loadAgentConfig(context.flags.config);
  const { records, problems } = await readJournal({ path: actionsPath(config.state), schema: actionRecord });
  return { entries: entriesOf(records), problems };
}

function toRow({ intent, upid, end }: ActionEntry): Row {
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

function listText(rows: readonly Row[], problems: readonly string[]): string {
  const lines = rows.map(
    ({ id, at, vmid, action, outcome, reason }) =>
      `${at}  ${id}  guest ${vmid}  ${action}: ${outcome}${reason === null ? '' : `, ${reason}`}`,
  );
  return [
    ...problems.map((problem) => `ATTENTION  ${problem}`),
    ...(lines.length === 0 ? ['nothing is on record'] : lines),
  ].join('\n');
}
