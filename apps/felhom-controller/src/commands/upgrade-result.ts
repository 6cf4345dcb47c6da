import { formatElapsed } from '@felhom/cli/quantity.ts';
import type { Failure } from '@felhom/kernel/failure.ts';
import type { OwedContainer } from '../quiesce/result.ts';
import type { Checked } from '../upgrade/check.ts';
import type { Rung } from '../upgrade/memory.ts';
import type { Gate } from '../upgrade/preflight-rules.ts';
import type { ServiceChange } from '../upgrade/upgrade-plan.ts';
import type { TimelineEntry } from './with-upgrade.ts';

/** What `upgrade apply --json` prints for one stack. */
export interface UpgradeResult {
  schema: 'felhom.upgrade/1';
  stack: string;
  outcome:
    | 'up_to_date'
    | 'planned'
    | 'staged'
    | 'success'
    | 'failed'
    | 'rolled_back'
    | 'kept'
    | 'owed'
    | 'left_to_boot'
    | 'skipped';
  changes: ServiceChange[];
  gates: Gate[];
  rungs: Rung[];
  not_rolled_back: { what: string; why: string }[];
  /** Of a rollback by hand: the snapshot of what was written since the upgrade; null: there is none. */
  since_snapshot: string | null;
  /** From the first stop to running again; null: nothing was stopped. */
  downtime_ms: number | null;
  owed: OwedContainer[];
  timeline: TimelineEntry[];
  warnings: string[];
  error: Failure | null;
}

export function emptyResult(stack: string): UpgradeResult {
  return {
    schema: 'felhom.upgrade/1',
    stack,
    outcome: 'up_to_date',
    changes: [],
    gates: [],
    rungs: [],
    not_rolled_back: [],
    since_snapshot: null,
    downtime_ms: null,
    owed: [],
    timeline: [],
    warnings: [],
    error: null,
  };
}

/** What was found before anything was done. */
export function checkedResult(stack: string, checked: Checked | null): UpgradeResult {
  if (checked === null) return emptyResult(stack);
  return {
    ...emptyResult(stack),
    outcome: 'planned',
    changes: checked.plan.changes,
    gates: checked.gates,
    not_rolled_back: checked.data.leftOut,
    warnings: checked.plan.unknown.map(({ why }) => why),
  };
}

const outcomes: Record<UpgradeResult['outcome'], string> = {
  up_to_date: 'nothing to upgrade',
  planned: 'can be upgraded',
  staged: 'everything of the new version is here; nothing was stopped',
  success: 'upgraded, and healthy',
  failed: 'NOT upgraded; the old version runs',
  rolled_back: 'ROLLED BACK: the old version runs, with its data as it was',
  kept: 'NOT taken back: there is no way back, and the NEW version stays',
  owed: 'DOWN between two versions',
  left_to_boot: 'left to the next boot',
  skipped: 'not now',
};

export function resultText(result: UpgradeResult): string {
  const row = (label: string, text: string): string => `  ${label.padEnd(19)}${text}`;
  const lines = [`${result.stack}: ${titleOf(result)}`];
  for (const change of result.changes) lines.push(row(change.service, changeWords(change)));
  for (const { what, why } of result.not_rolled_back) lines.push(row('not rolled back', `${what} (${why})`));
  for (const { name, state, why } of result.gates.filter((gate) => gate.state !== 'open'))
    lines.push(row(state === 'forced' ? 'forced' : 'in the way', `${name}: ${why ?? ''}`));
  for (const { name, result: passed, detail } of result.rungs) lines.push(row(name, `${passed}: ${detail}`));
  if (result.since_snapshot !== null) lines.push(row('written since', `kept as snapshot ${result.since_snapshot}`));
  if (result.downtime_ms !== null) lines.push(row('down for', formatElapsed(result.downtime_ms)));
  for (const { container, why } of result.owed) lines.push(row('DOWN', `${container} (${why})`));
  for (const warning of result.warnings) lines.push(row('note', warning));
  return lines.join('\n');
}

/** No more than is so: a closed gate is no plan, and data that was not kept did not come back. */
function titleOf({ outcome, gates, warnings }: UpgradeResult): string {
  if (outcome === 'planned' && gates.some(({ state }) => state === 'closed'))
    return 'there is something newer, and something in the way; nothing was stopped';
  if (outcome === 'up_to_date' && warnings.length > 0) return 'nothing newer is known; not everybody has answered';
  const isWithoutData = gates.some(({ name, state }) => name === 'snapshot_possible' && state === 'forced');
  if (outcome === 'rolled_back' && isWithoutData)
    return 'ROLLED BACK: the old version runs, on the data as the new one left it';
  return outcomes[outcome];
}

function changeWords({ kind, from, to, download }: ServiceChange): string {
  const fetched = download ? ' (to be fetched)' : '';
  if (kind === 'new') return `new: ${to?.ref ?? ''}${fetched}`;
  if (kind === 'removed') return `goes: ${from?.ref ?? ''}`;
  const names = `${side(from)} -> ${side(to)}${fetched}`;
  return kind === 'definition'
    ? `its definition changed, ${from?.ref ?? ''}`
    : kind === 'both'
      ? `${names}, and its definition`
      : names;
}

function side(image: { ref: string; id: string | null } | null): string {
  if (image === null) return 'nothing';
  const id = image.id?.replace(/^sha256:/, '').slice(0, 12);
  return id === undefined || image.ref.startsWith('sha256:') ? image.ref : `${image.ref} [${id}]`;
}
