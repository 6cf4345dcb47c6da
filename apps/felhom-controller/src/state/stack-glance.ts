import { namesIn, textOf } from './quick-files.ts';
import { field, list, number, parseJson, word } from './quick-json.ts';

/** How the upgrades of a stack stand, by what lies on disk. */
export interface UpgradeGlance {
  stack: string;
  phase: string;
  target: string | null;
  attempts: number;
  /** Health checks of this attempt that failed in a row. */
  failures: number;
  last_error: string | null;
  updated_at: string | null;
  last_success_at: string | null;
  waits_for_person: boolean;
  rungs: { name: string; result: string; detail: string }[];
}

/** Something that a person has to know, until `alert ack`. */
export interface AlertGlance {
  id: string;
  stack: string;
  at: string;
  recovered: boolean;
  message: string;
  hint: string;
}

/** The newest snapshot of a stack. */
export interface SnapshotGlance {
  stack: string;
  id: string;
  created_at: string | null;
  content_bytes: number;
  count: number;
}

/** A debt of another kind than stopped containers: a stack between two versions, or with half exchanged data. */
export interface OtherDebtGlance {
  kind: 'upgrade' | 'restore';
  stack: string;
  phase: string | null;
}

const isoOf = (ms: unknown): string | null => (typeof ms === 'number' ? new Date(ms).toISOString() : null);

export function glanceAtUpgrades(stateDir: string): UpgradeGlance[] {
  return namesIn(`${stateDir}/upgrades`)
    .toSorted()
    .flatMap((stack) => {
      const standing = field(parseJson(textOf(`${stateDir}/upgrades/${stack}/state.json`)), 'value');
      const phase = word(field(standing, 'phase'));
      if (phase === null) return [];
      const notes = field(standing, 'data');
      return [
        {
          stack,
          phase,
          target: word(field(standing, 'target')),
          attempts: number(field(standing, 'attempts')) ?? 0,
          failures: number(field(standing, 'checkFailures')) ?? 0,
          last_error: word(field(standing, 'lastError')),
          updated_at: isoOf(field(standing, 'updatedAtMs')),
          last_success_at: word(field(notes, 'last_success_at')),
          waits_for_person: field(notes, 'waits_for_person') === true,
          rungs: list(field(notes, 'rungs')).map((rung) => ({
            name: word(field(rung, 'name')) ?? '',
            result: word(field(rung, 'result')) ?? '',
            detail: word(field(rung, 'detail')) ?? '',
          })),
        },
      ];
    });
}

/** Those that nobody has acknowledged, newest first. */
export function glanceAtAlerts(stateDir: string): AlertGlance[] {
  const found = namesIn(`${stateDir}/alerts`)
    .filter((name) => name.endsWith('.json'))
    .flatMap((name) => {
      const alert = field(parseJson(textOf(`${stateDir}/alerts/${name}`)), 'value');
      const [id, stack, at] = ['id', 'stack', 'at'].map((key) => word(field(alert, key)));
      if (id == null || stack == null || at == null || field(alert, 'acked_at') !== null) return [];
      const [message, hint] = ['message', 'hint'].map((key) => word(field(alert, key)) ?? '');
      return [
        { id, stack, at, recovered: field(alert, 'recovered') === true, message: message ?? '', hint: hint ?? '' },
      ];
    });
  return found.toSorted((left, right) => (left.at < right.at ? 1 : -1));
}

/** `folder`: where snapshots lie. A stack's folder is its name, encoded; ids begin with the time. */
export function glanceAtSnapshots(folder: string): SnapshotGlance[] {
  return namesIn(folder)
    .filter((name) => !name.startsWith('.'))
    .toSorted()
    .flatMap((name) => {
      const ids = namesIn(`${folder}/${name}`).filter((id) => /^\d{8}T\d{9}-[0-9a-f]{6}$/.test(id));
      const id = ids.toSorted().at(-1);
      if (id === undefined) return [];
      const manifest = field(parseJson(textOf(`${folder}/${name}/${id}/manifest.json`)), 'manifest');
      const sizes = list(field(manifest, 'sources')).map((source) => number(field(source, 'content_bytes')) ?? 0);
      return [
        {
          stack: word(field(manifest, 'stack')) ?? name,
          id,
          created_at: word(field(manifest, 'created_at')),
          content_bytes: sizes.reduce((sum, size) => sum + size, 0),
          count: ids.length,
        },
      ];
    });
}

/** What a debt says that nobody has settled; one that cannot be read is told without its stack. */
export function glanceAtOtherDebts(stateDir: string): OtherDebtGlance[] {
  const names = namesIn(`${stateDir}/debts`);
  return (['upgrade', 'restore'] as const).flatMap((kind) => {
    const copies = names.filter((name) => name === `${kind}.a.json` || name === `${kind}.b.json`);
    if (copies.length === 0) return [];
    const values = copies.map((name) => field(parseJson(textOf(`${stateDir}/debts/${name}`)), 'value'));
    const value = values.find((each) => word(field(each, 'stack')) !== null);
    return [{ kind, stack: word(field(value, 'stack')) ?? 'a stack', phase: word(field(value, 'phase')) }];
  });
}
