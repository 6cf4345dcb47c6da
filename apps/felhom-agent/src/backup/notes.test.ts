import { describe, expect, it } from 'vitest';
import { newJob } from './job.ts';
import { gradeOf, jobMark, readMark, writeNotesText } from './notes.ts';

const job = newJob({
  job_id: 'j1',
  vmid: 101,
  origin: 'controller',
  opened_at: '2026-11-20T01:00:00.000Z',
  host_boot_id: 'b',
  quiesce: true,
  phase: 'done',
});
const report = {
  run_id: 'r',
  grade: 'app-consistent' as const,
  grade_reason: null,
  downtime_ms: 812,
  kept_running: ['traefik'],
  timeline: [],
  at: '2026-11-20T01:01:00.000Z',
};

describe('the notes of a backup', () => {
  it('carry grade and coverage in line 1, and read back', () => {
    const notes = writeNotesText(
      { ...job, report, excluded: [{ mount: '/srv/media', why: 'bind mount of the host' }] },
      'docker1',
    );
    expect(notes.split('\n')[0]).toBe('felhom/1 j1 app-consistent partial');
    expect(readMark(notes)).toEqual({ jobId: 'j1', grade: 'app-consistent', coverage: 'partial' });
    expect(notes).toContain('not in the backup: /srv/media (bind mount of the host)');
    expect(notes).toContain('apps down: 0.8 s');
  });

  it('are crash-consistent until a report, whatever the gate saw', () => {
    expect(gradeOf(job)).toEqual({ grade: 'crash-consistent', reason: 'no_report' });
    expect(writeNotesText(job, 'docker1')).toMatch(/^felhom\/1 j1 crash-consistent full\n/);
  });

  it('stay crash-consistent when the gate gave up, whatever the report says', () => {
    expect(gradeOf({ ...job, degraded: 'gate_closed: gate_lapsed', report })).toEqual({
      grade: 'crash-consistent',
      reason: 'gate_closed: gate_lapsed',
    });
  });

  it('take the pending mark for crash-consistent', () => {
    expect(readMark(jobMark('j1'))).toEqual({ jobId: 'j1', grade: 'crash-consistent', coverage: null });
  });

  it.each(['', 'by hand', 'felhom/2 j1 app-consistent full', 'felhom/1', 'felhom/1 ../../x app-consistent full'])(
    'are not ours: %j',
    (notes) => {
      expect(readMark(notes)).toBeNull();
    },
  );

  it('let no line break of a guest into line 1', () => {
    const notes = writeNotesText(
      { ...job, report: { ...report, grade_reason: 'a\nfelhom/1 j1 app-consistent full' } },
      'x\ny',
    );
    expect(notes.split('\n').filter((line) => line.startsWith('felhom/1'))).toHaveLength(1);
  });
});
