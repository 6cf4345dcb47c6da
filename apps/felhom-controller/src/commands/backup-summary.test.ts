import { describe, expect, it } from 'vitest';
import { summaryText } from './backup-summary.ts';
import { exampleResult } from './example-result.ts';

const guest = { vmid: 101, name: 'docker1', node: 'pve1' };
/** Without the timeline, whose clock is that of the place where this runs. */
const summaryOf = (result: ReturnType<typeof exampleResult>): string => summaryText({ ...result, timeline: [] }, guest);

describe('the summary of a run', () => {
  it('says what came of it, what it cost, what kept running and what is not in the backup', () => {
    expect(summaryOf(exampleResult())).toBe(
      [
        'guest 101 docker1: app-consistent backup on pbs, 3 min 41 s',
        '  apps down          0.8 s   nextcloud 0.8 s · paperless 0.6 s          kept running: traefik',
        '  slowest stop       paperless/gotenberg 0.4 s',
        '  not in the backup  /srv/media (bind mount of the host)',
        '  pbs:backup/ct/101/2026-11-20T01:00:07Z',
      ].join('\n'),
    );
  });

  it('shows when each stack went down and when it came back', () => {
    expect(
      summaryText(exampleResult(), guest)
        .split('\n')
        .slice(5)
        .map((line) => line.slice(11)),
    ).toEqual([
      '',
      '    +6.00 s             ready',
      '    +6.10 s  nextcloud  stopping',
      '    +6.90 s  nextcloud  running',
    ]);
  });

  it('says why a backup is less than app-consistent', () => {
    const less = exampleResult({
      grade: 'crash-consistent',
      grade_reason: 'nextcloud-app-1 was killed after its grace',
      excluded: [],
    });
    expect(summaryOf(less)).toContain(
      'crash-consistent backup on pbs, 3 min 41 s\n  because            nextcloud-app-1 was killed after its grace\n',
    );
  });

  it('shouts about what is still down', () => {
    const down = exampleResult({
      outcome: 'failed',
      grade: null,
      downtime_ms: null,
      volid: null,
      owed: [{ stack: 'paperless', container: 'paperless-db-1', why: 'image is gone' }],
    });
    expect(summaryOf(down)).toContain('guest 101 docker1: the backup failed, after 3 min 41 s');
    expect(summaryOf(down)).toContain('  STILL DOWN         paperless/db (image is gone)');
  });

  it('names no archive of a backup that failed: it need not be there', () => {
    const error = { code: 'backup_failed', message: 'no space left', hint: 'make room' } as const;
    expect(summaryOf(exampleResult({ outcome: 'failed', grade: null, error }))).not.toContain('pbs:backup/');
  });

  it('says of a run that nobody waited for, too, why its backup will be less than app-consistent', () => {
    const grade_reason = 'the apps came back before the snapshot was proven: no proof within 600 s';
    const less = exampleResult({ outcome: 'running', grade: 'crash-consistent', grade_reason });
    expect(summaryOf(less)).toContain(`\n  only               crash-consistent: ${grade_reason}\n`);
  });

  it('of a run that nobody waited for names the job', () => {
    const running = exampleResult({ outcome: 'running' });
    expect(summaryText({ ...running, timeline: [] }, null).split('\n')[0]).toBe(
      'this guest: backup on pbs is being written, apps are back; job job-1',
    );
    const owed = [{ stack: 'paperless', container: 'paperless-db-1', why: 'image is gone' }];
    expect(summaryText({ ...running, owed }, null)).toContain('is being written, apps are DOWN; job job-1');
  });

  it('of a run in which nothing was stopped tells no downtime', () => {
    const nothing = exampleResult({
      outcome: 'aborted',
      grade: null,
      downtime_ms: null,
      stacks: [],
      kept_running: [],
      excluded: [],
      volid: null,
    });
    expect(summaryOf(nothing)).toBe('guest 101 docker1: no backup was taken, after 3 min 41 s');
  });
});
