import type { Grade, LastBackup } from '@felhom/guest-api/schema.ts';
import type { BackupPolicy } from '../config.ts';
import { isTerminal, type Job } from './job.ts';
import { gradeOf, readMark } from './notes.ts';
import type { BackupItem } from './ports.ts';

/**
 * Whether a guest's backup is due, pure and level-based: judged from what lies on the storages, never
 * from what we remember to have done.
 */
export interface DueFacts {
  policies: readonly BackupPolicy[];
  /** Per storage: its listing for this guest, or null when it cannot be read. */
  listings: ReadonlyMap<string, { type: string; items: readonly BackupItem[] } | null>;
  jobs: readonly Job[];
  held: string | null;
  nowMs: number;
  backoffMs: number;
  /** Local minutes of the day at a time; a parameter so that tests need no time zone. */
  minutesOfDay: (ms: number) => number;
}

export interface Due {
  due: boolean;
  reason:
    | 'never'
    | 'overdue'
    | 'fresh'
    | 'backoff'
    | 'outside_window'
    | 'held'
    | 'not_configured'
    | 'storage_unreadable';
  storage: string | null;
  ageSeconds: number | null;
  nextDueMs: number | null;
  last: LastBackup | null;
}

const none = { storage: null, ageSeconds: null, nextDueMs: null, last: null };

/** The verdict of the target that waits longest; a due one goes before all others. */
export function judgeDue(facts: DueFacts): Due {
  const [first] = facts.policies;
  if (first === undefined) return { due: false, reason: 'not_configured', ...none };
  const verdicts = facts.policies.map((policy) => judgeTarget(facts, policy));
  if (facts.held !== null) {
    const [one] = verdicts;
    return { ...(one ?? none), due: false, reason: 'held', nextDueMs: null };
  }
  return (
    verdicts.toSorted((left, right) => urgency(right) - urgency(left))[0] ?? {
      due: false,
      reason: 'not_configured',
      ...none,
    }
  );
}

/** Due before not due; then the one whose moment lies furthest back. */
function urgency(verdict: Due & { overMs?: number }): number {
  return (verdict.due ? 1e15 : 0) + (verdict.overMs ?? -1e14);
}

function judgeTarget(facts: DueFacts, policy: BackupPolicy): Due & { overMs?: number } {
  const { nowMs } = facts;
  const listing = facts.listings.get(policy.storage);
  if (listing === null || listing === undefined)
    return { due: false, reason: 'storage_unreadable', ...none, storage: policy.storage };
  const newest = newestGood(listing.items, facts.jobs, policy);
  const last = newest === null ? null : toLast(newest, policy.storage, listing.type);
  const ageMs = newest === null ? null : Math.max(0, nowMs - newest.ctimeSeconds * 1000);
  const known = { storage: policy.storage, ageSeconds: ageMs === null ? null : Math.floor(ageMs / 1000), last };
  if (policy.everyMs === null) return { ...known, due: false, reason: 'fresh', nextDueMs: null };
  const dueMs = newest === null ? nowMs : newest.ctimeSeconds * 1000 + policy.everyMs;
  if (nowMs < dueMs)
    return {
      ...known,
      due: false,
      reason: 'fresh',
      nextDueMs: intoWindow(dueMs, policy.window, facts.minutesOfDay),
      overMs: nowMs - dueMs,
    };
  const overMs = newest === null ? 1e14 : nowMs - dueMs;
  const untilMs = backoffUntilMs(facts.jobs, policy, facts.backoffMs);
  if (nowMs < untilMs) return { ...known, due: false, reason: 'backoff', nextDueMs: untilMs, overMs };
  const tooOld = policy.maxAgeMs !== null && ageMs !== null && ageMs > policy.maxAgeMs;
  const opensMs = intoWindow(nowMs, policy.window, facts.minutesOfDay);
  if (opensMs > nowMs && !tooOld) return { ...known, due: false, reason: 'outside_window', nextDueMs: opensMs, overMs };
  return { ...known, due: true, reason: newest === null ? 'never' : 'overdue', nextDueMs: nowMs, overMs };
}

/**
 * The newest backup that counts: ours and of a sufficient grade, or anybody's where `count_foreign` says so. A grade that was
 * reported counts before it stands in the notes.
 */
function newestGood(items: readonly BackupItem[], jobs: readonly Job[], policy: BackupPolicy): BackupItem | null {
  const good = items.filter((item) => {
    const mark = readMark(item.notes);
    if (mark === null) return policy.countForeign;
    const job = jobs.find(({ job_id }) => job_id === mark.jobId);
    const grade = job === undefined ? mark.grade : gradeOf(job).grade;
    return policy.minGrade === 'crash-consistent' || grade === 'app-consistent';
  });
  return good.toSorted((left, right) => right.ctimeSeconds - left.ctimeSeconds)[0] ?? null;
}

/** The newest backup of any grade, as the answers show it. */
export function toLast(item: BackupItem, storage: string, storageType: string): LastBackup {
  const grade: Grade | null = readMark(item.notes)?.grade ?? null;
  return {
    volid: item.volid,
    storage,
    storage_type: storageType,
    grade,
    at: new Date(item.ctimeSeconds * 1000).toISOString(),
    size_bytes: item.sizeBytes,
  };
}

/**
 * Until when a target rests after failures, and after backups below the wanted grade: `backoffMs`,
 * doubled with each in a row, at most `every`. A cancelled job counts for nothing.
 */
export function backoffUntilMs(jobs: readonly Job[], policy: BackupPolicy, backoffMs: number): number {
  const ended = jobs
    .filter(
      (job) => isTerminal(job) && job.phase !== 'cancelled' && (job.storage === policy.storage || job.storage === null),
    )
    .toSorted((left, right) => endMs(right) - endMs(left));
  const bad = ended.findIndex((job) => !isFailure(job, policy));
  const failures = bad === -1 ? ended : ended.slice(0, bad);
  const [newest] = failures;
  if (newest === undefined) return 0;
  const restMs = Math.min(backoffMs * 2 ** Math.min(failures.length - 1, 20), policy.everyMs ?? backoffMs);
  return endMs(newest) + restMs;
}

function isFailure(job: Job, policy: BackupPolicy): boolean {
  if (job.phase === 'failed') return true;
  if (policy.minGrade === 'crash-consistent') return false;
  return job.degraded !== null || job.report?.grade !== 'app-consistent';
}

function endMs(job: Job): number {
  return Date.parse(job.ended_at ?? job.opened_at);
}

const dayMinutes = 1440;

/** `ms` when it lies in the window, else the next moment at which the window opens. */
export function intoWindow(ms: number, window: string | null, minutesOfDay: (ms: number) => number): number {
  if (window === null) return ms;
  const [from = 0, to = 0] = window.split('-').map((text) => Number(text.slice(0, 2)) * 60 + Number(text.slice(3)));
  const now = minutesOfDay(ms);
  const inside = from <= to ? now >= from && now < to : now >= from || now < to;
  if (inside) return ms;
  const wait = (from - now + dayMinutes) % dayMinutes;
  return ms - (ms % 60_000) + wait * 60_000;
}
