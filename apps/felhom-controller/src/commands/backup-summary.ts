import { formatElapsed } from '@felhom/cli/quantity.ts';
import type { DueAnswer } from '@felhom/guest-api/schema.ts';
import type { RunResult, StackResult, TimelineEntry } from '../quiesce/result.ts';
import { inStack } from './names.ts';

type Guest = DueAnswer['guest'];

const labelWidth = 19;

/** A run as a person reads it: what came of it, what it cost, and when each stack went down and came back. */
export function summaryText(result: RunResult, guest: Guest | null): string {
  const lines = [`${guestName(guest)}${headline(result)}`, ...details(result)];
  const timeline = timelineLines(result.timeline);
  return [...lines, ...(timeline.length === 0 ? [] : ['', ...timeline])].join('\n');
}

function guestName(guest: Guest | null): string {
  return guest === null ? 'this guest: ' : `guest ${guest.vmid} ${guest.name}: `;
}

function headline(result: RunResult): string {
  const took = formatElapsed(result.duration_ms);
  const where = result.target.storage === null ? '' : ` on ${result.target.storage}`;
  const grade = result.grade === null ? '' : `${result.grade} `;
  if (result.outcome === 'done') return `${grade}backup${where}, ${took}`;
  if (result.outcome === 'running') {
    const apps = result.owed.length === 0 ? 'apps are back' : 'apps are DOWN';
    return `backup${where} is being written, ${apps}; job ${result.job_id ?? 'unknown'}`;
  }
  const words = {
    failed: 'the backup failed',
    aborted: 'no backup was taken',
    interrupted: 'the backup was interrupted',
    not_due: 'no backup was taken: none is due any more',
  };
  return `${words[result.outcome]}, after ${took}`;
}

function details(result: RunResult): string[] {
  const lines: string[] = [];
  if (result.outcome === 'done' && result.grade_reason !== null) lines.push(labelled('because', result.grade_reason));
  if (result.outcome === 'running' && result.grade_reason !== null)
    lines.push(labelled('only', `${result.grade ?? 'crash-consistent'}: ${result.grade_reason}`));
  lines.push(...appsDown(result));
  const slowest = slowestStop(result.stacks);
  if (slowest !== null) lines.push(labelled('slowest stop', slowest));
  if (result.owed.length > 0) {
    lines.push(
      labelled(
        'STILL DOWN',
        result.owed.map(({ stack, container, why }) => `${inStack(stack, container)} (${why})`).join(' · '),
      ),
    );
  }
  if (result.excluded.length > 0) {
    lines.push(labelled('not in the backup', result.excluded.map(({ mount, why }) => `${mount} (${why})`).join(' · ')));
  }
  for (const warning of result.warnings) lines.push(labelled('note', warning));
  // What a failed backup was to be called need not be there.
  if (result.volid !== null && (result.outcome === 'done' || result.outcome === 'running'))
    lines.push(`  ${result.volid}`);
  return lines;
}

function appsDown({ downtime_ms, stacks, kept_running }: RunResult): string[] {
  const kept = [
    ...new Set(
      kept_running.map(({ stack, container, why }) =>
        why === 'keep' ? stack : `${inStack(stack, container)} (${why})`,
      ),
    ),
  ];
  if (downtime_ms === null) return kept.length === 0 ? [] : [labelled('kept running', kept.join(', '))];
  const each = stacks
    .flatMap(({ name, downtime_ms: ms }) => (ms === null ? [] : [`${name} ${formatElapsed(ms)}`]))
    .join(' · ');
  const keptText = kept.length === 0 ? '' : `          kept running: ${kept.join(', ')}`;
  return [labelled('apps down', `${formatElapsed(downtime_ms).padEnd(6)}  ${each}${keptText}`.trimEnd())];
}

function slowestStop(stacks: readonly StackResult[]): string | null {
  let slowest: { text: string; ms: number } | null = null;
  for (const { name, slowest_stop: stop } of stacks) {
    if (stop === null || (slowest !== null && slowest.ms >= stop.ms)) continue;
    slowest = { text: `${inStack(name, stop.container)} ${formatElapsed(stop.ms)}`, ms: stop.ms };
  }
  return slowest?.text ?? null;
}

function labelled(label: string, text: string): string {
  return `  ${label.padEnd(labelWidth)}${text}`;
}

/** `  01:00:07.120   +0.4 s  nextcloud  down` */
export function timelineLines(timeline: readonly TimelineEntry[]): string[] {
  const width = Math.max(0, ...timeline.map(({ stack }) => stack?.length ?? 0));
  return timeline.map(({ at, offset_ms, event, stack }) => {
    const time = new Date(at).toTimeString().slice(0, 8);
    const offset = `+${(offset_ms / 1_000).toFixed(2)} s`.padStart(11);
    return `  ${time} ${offset}  ${(stack ?? '').padEnd(width)}  ${event.replaceAll('_', ' ')}`.trimEnd();
  });
}
