import { describe, expect, it } from 'vitest';
import type { BackupPolicy } from '../config.ts';
import { type DueFacts, intoWindow, judgeDue } from './due.ts';
import { type Job, newJob } from './job.ts';
import type { BackupItem } from './ports.ts';

const hour = 3_600_000;
const day = 24 * hour;
const nowMs = Date.parse('2026-11-20T12:00:00Z');
const policy: BackupPolicy = {
  storage: 'bk',
  everyMs: day,
  window: null,
  maxAgeMs: null,
  minGrade: 'crash-consistent',
  countForeign: false,
  onDowngrade: 'abort',
  mode: 'snapshot',
  compress: 'zstd',
};
const utcMinutes = (ms: number): number => new Date(ms).getUTCHours() * 60 + new Date(ms).getUTCMinutes();

function item(ageMs: number, notes = 'felhom/1 j app-consistent full'): BackupItem {
  return {
    volid: `bk:backup/${ageMs}`,
    vmid: 101,
    ctimeSeconds: (nowMs - ageMs) / 1000,
    sizeBytes: 1,
    notes,
    protected: false,
  };
}

function facts(change: Partial<DueFacts> & { items?: BackupItem[] } = {}): DueFacts {
  const { items = [], ...rest } = change;
  return {
    policies: [policy],
    listings: new Map([['bk', { type: 'dir', items }]]),
    jobs: [],
    held: null,
    nowMs,
    backoffMs: hour,
    minutesOfDay: utcMinutes,
    ...rest,
  };
}

function failed(endedAgoMs: number, change: Partial<Job> = {}): Job {
  const at = new Date(nowMs - endedAgoMs).toISOString();
  return newJob({
    job_id: `f${endedAgoMs}`,
    vmid: 101,
    origin: 'controller',
    opened_at: at,
    host_boot_id: 'b',
    quiesce: true,
    storage: 'bk',
    phase: 'failed',
    ended_at: at,
    ...change,
  });
}

describe('whether a backup is due', () => {
  it('is when there was none', () => {
    expect(judgeDue(facts())).toMatchObject({ due: true, reason: 'never', last: null });
  });

  it('is when the newest is older than `every`, and not before', () => {
    expect(judgeDue(facts({ items: [item(day + 1), item(3 * day)] }))).toMatchObject({
      due: true,
      reason: 'overdue',
      ageSeconds: 86_400,
    });
    expect(judgeDue(facts({ items: [item(day - 60_000)] }))).toMatchObject({
      due: false,
      reason: 'fresh',
      nextDueMs: nowMs + 60_000,
    });
  });

  it("does not count another's backup, unless told to", () => {
    expect(judgeDue(facts({ items: [item(hour, 'by hand')] })).due).toBe(true);
    expect(judgeDue(facts({ items: [item(hour, 'by hand')], policies: [{ ...policy, countForeign: true }] })).due).toBe(
      false,
    );
  });

  it('does not count a backup below the wanted grade', () => {
    const strict = [{ ...policy, minGrade: 'app-consistent' as const }];
    expect(judgeDue(facts({ items: [item(hour, 'felhom/1 j crash-consistent full')], policies: strict })).due).toBe(
      true,
    );
    expect(judgeDue(facts({ items: [item(hour, 'felhom/1 j pending')], policies: strict })).due).toBe(true);
    expect(judgeDue(facts({ items: [item(hour)], policies: strict })).due).toBe(false);
  });

  it('waits for the window, but not past the maximum age', () => {
    const windowed = { ...policy, window: '01:00-05:00', maxAgeMs: 2 * day };
    expect(judgeDue(facts({ items: [item(day + hour)], policies: [windowed] }))).toMatchObject({
      due: false,
      reason: 'outside_window',
      nextDueMs: Date.parse('2026-11-21T01:00:00Z'),
    });
    expect(judgeDue(facts({ items: [item(2 * day + hour)], policies: [windowed] })).due).toBe(true);
  });

  it('backs off after failures, doubling, at most `every`', () => {
    expect(judgeDue(facts({ jobs: [failed(hour - 1)] }))).toMatchObject({
      due: false,
      reason: 'backoff',
      nextDueMs: nowMs + 1,
    });
    expect(judgeDue(facts({ jobs: [failed(hour)] })).due).toBe(true);
    expect(judgeDue(facts({ jobs: [failed(5 * hour), failed(hour)] })).due).toBe(false);
    expect(judgeDue(facts({ jobs: [failed(5 * hour), failed(2 * hour)] })).due).toBe(true);
    const many = Array.from({ length: 30 }, (_, index) => failed((60 - index) * hour));
    expect(judgeDue(facts({ jobs: [...many, failed(day - 1)] })).due).toBe(false);
    expect(judgeDue(facts({ jobs: [...many, failed(day)] })).due).toBe(true);
  });

  it('ends the backoff with a success, and ignores what was cancelled', () => {
    const good = failed(2 * hour, { phase: 'done', ended_at: new Date(nowMs - 60_000).toISOString() });
    expect(judgeDue(facts({ jobs: [failed(3 * hour), good] })).due).toBe(true);
    expect(judgeDue(facts({ jobs: [failed(1, { phase: 'cancelled' })] })).due).toBe(true);
  });

  it('backs off after a backup below the wanted grade', () => {
    const poor = failed(60_000, { phase: 'done', report: null });
    expect(judgeDue(facts({ policies: [{ ...policy, minGrade: 'app-consistent' }], jobs: [poor] }))).toMatchObject({
      due: false,
      reason: 'backoff',
    });
  });

  it('counts a grade that was reported before it stands in the notes', () => {
    const at = new Date(nowMs - 60_000).toISOString();
    const grade = 'app-consistent' as const;
    const report = { run_id: 'r', grade, grade_reason: null, downtime_ms: 1, kept_running: [], timeline: [], at };
    const good = failed(60_000, { phase: 'done', report });
    const pending = item(60_000, `felhom/1 ${good.job_id} pending`);
    const wanted = facts({ policies: [{ ...policy, minGrade: 'app-consistent' }], jobs: [good], items: [pending] });
    expect(judgeDue(wanted)).toMatchObject({ due: false, reason: 'fresh' });
    expect(judgeDue({ ...wanted, jobs: [{ ...good, report: null, ended_at: new Date(0).toISOString() }] }).due).toBe(
      true,
    );
  });

  it('names the target that waits longest', () => {
    const listings = new Map([
      ['bk', { type: 'dir', items: [item(2 * day)] }],
      ['usb', { type: 'dir', items: [item(9 * day)] }],
    ]);
    const policies = [policy, { ...policy, storage: 'usb', everyMs: 7 * day }];
    expect(judgeDue(facts({ policies, listings }))).toMatchObject({ due: true, storage: 'usb' });
    expect(
      judgeDue(facts({ policies, listings: new Map([...listings, ['usb', { type: 'dir', items: [item(hour)] }]]) })),
    ).toMatchObject({ due: true, storage: 'bk' });
  });

  it('is never for a held guest, without a target, with schedule: pve, or when the storage cannot be read', () => {
    expect(judgeDue(facts({ held: 'moving disks' }))).toMatchObject({ due: false, reason: 'held' });
    expect(judgeDue(facts({ policies: [] }))).toMatchObject({ due: false, reason: 'not_configured' });
    expect(judgeDue(facts({ policies: [{ ...policy, everyMs: null }] })).due).toBe(false);
    expect(judgeDue(facts({ listings: new Map([['bk', null]]) }))).toMatchObject({
      due: false,
      reason: 'storage_unreadable',
    });
  });
});

describe('a window', () => {
  it.each([
    ['2026-11-20T02:30:00Z', '01:00-05:00', '2026-11-20T02:30:00Z'],
    ['2026-11-20T05:00:00Z', '01:00-05:00', '2026-11-21T01:00:00Z'],
    ['2026-11-20T23:30:00Z', '22:00-04:00', '2026-11-20T23:30:00Z'],
    ['2026-11-20T03:59:00Z', '22:00-04:00', '2026-11-20T03:59:00Z'],
    ['2026-11-20T12:00:30Z', '22:00-04:00', '2026-11-20T22:00:00Z'],
  ])('from %s in %s opens at %s', (from, window, opens) => {
    expect(new Date(intoWindow(Date.parse(from), window, utcMinutes)).toISOString()).toBe(
      new Date(opens).toISOString(),
    );
  });
});
