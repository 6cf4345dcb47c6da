import type { Backup } from './backups.ts';

/** `prune-backups`: how many to keep, by rule. `keep-all` keeps everything. */
export type Retention = Readonly<Record<string, number>>;

const rules = ['keep-last', 'keep-hourly', 'keep-daily', 'keep-weekly', 'keep-monthly', 'keep-yearly'] as const;

export type ParsedRetention = { kind: 'retention'; retention: Retention } | { kind: 'error'; error: string };

/** Reads `keep-last=3,keep-daily=7`; the error is the text PVE answers for `prune-backups`. */
export function parseRetention(text: string): ParsedRetention {
  const retention: Record<string, number> = {};
  const failed = (key: string, what: string): ParsedRetention => ({
    kind: 'error',
    error: `invalid format - format error\nprune-backups.${key}: ${what}\n`,
  });
  for (const part of text.split(',').filter((piece) => piece !== '')) {
    const [key = '', value = ''] = part.split('=');
    if (key !== 'keep-all' && !rules.some((rule) => rule === key)) {
      return failed(key, 'property is not defined in schema and the schema does not allow additional properties');
    }
    if (!/^\d+$/.test(value)) return failed(key, `type check ('integer') failed - got '${value}'`);
    retention[key] = Number(value);
  }
  return { kind: 'retention', retention };
}

export function describeRetention(retention: Retention): string {
  return Object.keys(retention)
    .toSorted()
    .map((key) => `${key}=${retention[key]}`)
    .join(', ');
}

export type PruneMark = 'keep' | 'remove' | 'protected';

/** Marks the backups of one group (one guest, one type). Protected ones are neither counted nor removed. */
export function markForPrune(backups: readonly Backup[], retention: Retention): { backup: Backup; mark: PruneMark }[] {
  const newestFirst = [...backups].toSorted((a, b) => b.ctime - a.ctime);
  const kept = new Set<Backup>();
  const keepsAll = (retention['keep-all'] ?? 0) !== 0 || Object.keys(retention).length === 0;
  for (const rule of rules) keepByRule(newestFirst, kept, rule, retention[rule] ?? 0);
  return [...backups]
    .toSorted((a, b) => a.ctime - b.ctime)
    .map((backup) => {
      if (backup.protected) return { backup, mark: 'protected' };
      return { backup, mark: keepsAll || kept.has(backup) ? 'keep' : 'remove' };
    });
}

/** Keeps the newest of each period until `count` periods are covered; what an earlier rule kept does not count again. */
function keepByRule(
  newestFirst: readonly Backup[],
  kept: Set<Backup>,
  rule: (typeof rules)[number],
  count: number,
): void {
  const covered = new Set<string>();
  for (const backup of newestFirst) if (kept.has(backup) && rule !== 'keep-last') covered.add(periodOf(backup, rule));
  const already = covered.size;
  for (const backup of newestFirst) {
    if (covered.size - already >= count) return;
    if (backup.protected || kept.has(backup)) continue;
    const period = periodOf(backup, rule);
    if (covered.has(period)) continue;
    covered.add(period);
    kept.add(backup);
  }
}

function periodOf(backup: Backup, rule: (typeof rules)[number]): string {
  const at = new Date(backup.ctime * 1000);
  const [year, month, day] = [at.getFullYear(), at.getMonth(), at.getDate()];
  switch (rule) {
    case 'keep-last':
      return backup.volid;
    case 'keep-hourly':
      return `${year}-${month}-${day}-${at.getHours()}`;
    case 'keep-daily':
      return `${year}-${month}-${day}`;
    case 'keep-weekly':
      return String(Math.floor((backup.ctime / 86_400 + 3) / 7));
    case 'keep-monthly':
      return `${year}-${month}`;
    case 'keep-yearly':
      return String(year);
  }
}
