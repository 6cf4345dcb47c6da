import { type Grade, grade } from '@felhom/guest-api/schema.ts';
import type { Job } from './job.ts';

/**
 * Line 1 of a backup's notes is ours, because storage listings show nothing else:
 * `felhom/1 <job_id> <grade> <coverage>`. While vzdump runs it is the mark `felhom/1 <job_id> pending`.
 */
const version = 'felhom/1';

export interface Marked {
  jobId: string;
  /** A backup still marked `pending`, or with a word that we do not know, is crash-consistent. */
  grade: Grade;
  coverage: 'full' | 'partial' | null;
}

/** What goes into vzdump's `notes-template`; its log repeats it in line 1. */
export function jobMark(jobId: string): string {
  return `${version} ${jobId} pending`;
}

/** What line 1 of a backup's notes says, or null when the backup is not one of ours. */
export function readMark(notes: string): Marked | null {
  const [word, jobId, gradeWord, coverage] = (notes.split('\n')[0] ?? '').trim().split(/\s+/);
  if (word !== version || jobId === undefined || !/^[A-Za-z0-9_-]{1,64}$/.test(jobId)) return null;
  const read = grade.safeParse(gradeWord);
  return {
    jobId,
    grade: read.success ? read.data : 'crash-consistent',
    coverage: coverage === 'full' || coverage === 'partial' ? coverage : null,
  };
}

/** The grade of a job and why: until an accepted report it is crash-consistent, whatever the gate saw. */
export function gradeOf(job: Job): { grade: Grade; reason: string | null } {
  if (job.degraded !== null) return { grade: 'crash-consistent', reason: job.degraded };
  if (job.report === null) return { grade: 'crash-consistent', reason: job.quiesce ? 'no_report' : 'not_quiesced' };
  return { grade: job.report.grade, reason: job.report.grade_reason };
}

/** The whole text of a finished backup's notes. */
export function writeNotesText(job: Job, guestName: string): string {
  const { grade: word, reason } = gradeOf(job);
  const lines = [
    `${version} ${job.job_id} ${word} ${job.excluded.length === 0 ? 'full' : 'partial'}`,
    `guest ${job.vmid} ${oneLine(guestName)}, ${job.opened_at}, asked for by: ${job.origin}`,
    ...(reason === null ? [] : [`reason: ${oneLine(reason)}`]),
    ...(job.report?.downtime_ms == null ? [] : [`apps down: ${(job.report.downtime_ms / 1000).toFixed(1)} s`]),
    ...(job.report === null || job.report.kept_running.length === 0
      ? []
      : [`kept running: ${oneLine(job.report.kept_running.join(', '))}`]),
    ...job.excluded.slice(0, 32).map(({ mount, why }) => `not in the backup: ${oneLine(mount)} (${oneLine(why)})`),
  ];
  return lines.join('\n');
}

function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\s]+/gu, ' ').slice(0, 300);
}
