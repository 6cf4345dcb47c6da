import type { Job } from '../backup/job.ts';
import { gradeOf } from '../backup/notes.ts';
import { guestOutcome } from '../reconcile/last-pass.ts';
import type { PassReport } from '../reconcile/report.ts';

export interface MetricFacts {
  jobs: readonly Job[];
  alerts: number;
  requests: ReadonlyMap<number, number>;
  calling: readonly { vmid: number; calling: boolean }[];
  /** The newest pass of reconcile; null where there is none. */
  lastPass: PassReport | null;
}

/** Prometheus text, format 0.0.4. Guests are named by VMID alone: the page needs no token. */
export function metricsText(facts: MetricFacts): string {
  const lines: string[] = [];
  const family = (
    name: string,
    type: 'gauge' | 'counter',
    help: string,
    rows: readonly (readonly [string, number])[],
  ): void => {
    lines.push(
      `# HELP ${name} ${help}`,
      `# TYPE ${name} ${type}`,
      ...rows.map(([labels, value]) => `${name}${labels} ${value}`),
    );
  };
  family('felhom_jobs', 'gauge', 'Backup jobs on record by phase.', countPhases(facts.jobs));
  family('felhom_alerts', 'gauge', 'Things that need a person.', [['', facts.alerts]]);
  family(
    'felhom_watcher_calling',
    'gauge',
    'Whether the controller of a guest is calling.',
    facts.calling.map(({ vmid, calling }) => [label(vmid), calling ? 1 : 0]),
  );
  family(
    'felhom_guest_requests_total',
    'counter',
    'Authenticated requests of a guest.',
    [...facts.requests].map(([vmid, count]) => [label(vmid), count]),
  );
  const last = lastDone(facts.jobs);
  family(
    'felhom_last_backup_timestamp_seconds',
    'gauge',
    'End of the newest backup that we saw.',
    last.map((job) => [label(job.vmid), Date.parse(job.ended_at ?? job.opened_at) / 1000]),
  );
  family(
    'felhom_last_backup_app_consistent',
    'gauge',
    'Whether that backup is app-consistent.',
    last.map((job) => [label(job.vmid), gradeOf(job).grade === 'app-consistent' ? 1 : 0]),
  );
  family(
    'felhom_last_backup_downtime_seconds',
    'gauge',
    'How long the apps were down for it.',
    last.flatMap((job) =>
      job.report?.downtime_ms == null ? [] : [[label(job.vmid), job.report.downtime_ms / 1000] as const],
    ),
  );
  const { lastPass } = facts;
  if (lastPass !== null) {
    family(
      'felhom_reconcile_guests',
      'gauge',
      'Declared guests by what the newest pass made of them.',
      guestOutcome.options.map((outcome) => [`{outcome="${outcome}"}`, lastPass.counts[outcome]]),
    );
    family('felhom_reconcile_last_pass_timestamp_seconds', 'gauge', 'End of the newest pass.', [
      ['', Date.parse(lastPass.ended_at) / 1000],
    ]);
  }
  return `${lines.join('\n')}\n`;
}

function label(vmid: number): string {
  return `{vmid="${vmid}"}`;
}

function countPhases(jobs: readonly Job[]): (readonly [string, number])[] {
  const counts = new Map<string, number>();
  for (const job of jobs) counts.set(job.phase, (counts.get(job.phase) ?? 0) + 1);
  return [...counts].map(([phase, count]) => [`{phase="${phase}"}`, count] as const);
}

function lastDone(jobs: readonly Job[]): Job[] {
  const newest = new Map<number, Job>();
  for (const job of jobs) if (job.phase === 'done') newest.set(job.vmid, job);
  return [...newest.values()];
}
