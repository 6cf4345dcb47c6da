import { replaceFile } from '@felhom/durable/replace-file.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import type { SnapshotGlance } from '../state/stack-glance.ts';
import type { Status } from './status.ts';

/**
 * Writes the status as Prometheus text (format 0.0.4) for a textfile collector: whole or not at all, readable by it.
 * @throws Failure `state_unwritable`.
 */
export async function writeTextfile(
  path: string,
  status: Pick<Status, 'upgrades' | 'alerts' | 'owed' | 'last_backup'>,
  snapshots: readonly SnapshotGlance[],
  nowMs: number,
): Promise<void> {
  try {
    await replaceFile(path, metricsText(status, snapshots, nowMs), { mode: 0o644 });
  } catch (cause) {
    throw new Failure('state_unwritable', {
      message: `${path} could not be written: ${cause instanceof Error ? cause.message : String(cause)}; the apps are not touched`,
      hint: 'Name a file in a folder that exists, such as /var/lib/prometheus/node-exporter/felhom.prom',
      cause,
    });
  }
}

type Row = readonly [labels: Readonly<Record<string, string>>, value: number];

/** Pure. Ages are seconds at the time of writing; a stack without a value has no row. */
export function metricsText(
  status: Pick<Status, 'upgrades' | 'alerts' | 'owed' | 'last_backup'>,
  snapshots: readonly SnapshotGlance[],
  nowMs: number,
): string {
  const { upgrades, alerts, owed, last_backup: backup } = status;
  const ageOf = (at: string | null): number | null =>
    at === null ? null : Math.max(0, Math.round((nowMs - Date.parse(at)) / 1_000));
  const perStack = <T extends { stack: string }>(items: readonly T[], value: (item: T) => number | null): Row[] =>
    items.flatMap((item) => {
      const found = value(item);
      return found === null ? [] : [[{ stack: item.stack }, found] as const];
    });
  const epoch = (at: string | null): number | null => (at === null ? null : Math.round(Date.parse(at) / 1_000));
  return [
    family('felhom_apps_owed', 'Containers that an interrupted run owes a start.', [[{}, owed.length]]),
    family('felhom_alerts_open', 'Alerts that nobody has acknowledged.', [[{}, alerts.length]]),
    family('felhom_backup_age_seconds', 'Age of the last finished backup run.', [
      ...(backup === null ? [] : [[{}, ageOf(backup.started_at) ?? 0] as const]),
    ]),
    family(
      'felhom_upgrade_phase',
      'Where the latest upgrade of a stack stands: 1 for its phase.',
      upgrades.map(({ stack, phase }) => [{ stack, phase }, 1] as const),
    ),
    family(
      'felhom_upgrade_attempts',
      'Attempts at the present target.',
      perStack(upgrades, ({ attempts }) => attempts),
    ),
    family(
      'felhom_upgrade_check_failures',
      'Health checks that failed in a row.',
      perStack(upgrades, ({ failures }) => failures),
    ),
    family(
      'felhom_upgrade_last_success_timestamp_seconds',
      'When an upgrade last succeeded.',
      perStack(upgrades, ({ last_success_at: at }) => epoch(at)),
    ),
    family(
      'felhom_snapshot_age_seconds',
      'Age of the newest snapshot of a stack.',
      perStack(snapshots, ({ created_at: at }) => ageOf(at)),
    ),
    family(
      'felhom_snapshot_size_bytes',
      'Data in the newest snapshot of a stack.',
      perStack(snapshots, (each) => each.content_bytes),
    ),
    family(
      'felhom_snapshots',
      'Snapshots that are kept of a stack.',
      perStack(snapshots, ({ count }) => count),
    ),
  ].join('');
}

function family(name: string, help: string, rows: readonly Row[]): string {
  if (rows.length === 0) return '';
  const lines = rows.map(([labels, value]) => `${name}${labelText(labels)} ${value}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${lines.join('')}`;
}

function labelText(labels: Readonly<Record<string, string>>): string {
  const parts = Object.entries(labels).map(([key, value]) => `${key}="${escapeLabel(value)}"`);
  return parts.length === 0 ? '' : `{${parts.join(',')}}`;
}

/** Of a label's value: backslash, quote and line feed (Prometheus, exposition formats). */
function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
