import { describe, expect, it } from 'vitest';
import { type GradeEvidence, judgeGrade } from './grade.ts';

const clean: GradeEvidence = {
  stops: [{ name: 'db', holdsData: true, down: true, exitCode: 0, oomKilled: false }],
  unlooked: false,
  startedMeanwhile: [],
  eventsBroken: null,
  runningAtProof: [],
  resumedEarly: null,
  hostDegraded: null,
  commandsFailed: [],
};
const stop = (change: object): GradeEvidence => ({
  ...clean,
  stops: clean.stops.map((each) => ({ ...each, ...change })),
});

describe('the grade', () => {
  it('is app-consistent when everything with data ended by itself and nothing ran until the proof', () => {
    expect(judgeGrade(clean)).toEqual({ grade: 'app-consistent', reason: null });
    expect(judgeGrade(stop({ exitCode: 143 })).grade).toBe('app-consistent');
  });

  it('does not mind the kill of what has no data', () => {
    expect(judgeGrade(stop({ exitCode: 137, holdsData: false })).grade).toBe('app-consistent');
  });

  it.each([
    ['a kill', stop({ exitCode: 137 }), 'db did not end within its grace and was killed'],
    ['a kill for memory', stop({ exitCode: 0, oomKilled: true }), 'db was killed for want of memory'],
    ['a stop that failed', stop({ down: false }), 'db did not stop'],
    [
      'a look at the stops that failed',
      { ...clean, stops: [], unlooked: true },
      'docker did not say whether the apps were down',
    ],
    ['a start meanwhile', { ...clean, startedMeanwhile: ['web'] }, 'web was started between the stop and the snapshot'],
    ['something that ran', { ...clean, runningAtProof: ['once'] }, 'once was running at the snapshot'],
    ['a look that failed', { ...clean, runningAtProof: null }, 'docker did not say what ran at the snapshot'],
    ['a broken stream', { ...clean, eventsBroken: 'cut' }, 'nobody saw whether something started meanwhile: cut'],
    [
      'an early resume',
      { ...clean, resumedEarly: 'the deadline' },
      'the apps came back before the snapshot was proven: the deadline',
    ],
    ['a closed gate', { ...clean, hostDegraded: 'gate_closed' }, 'gate_closed'],
    ['a failed command', { ...clean, commandsFailed: ['before_stop of x failed'] }, 'before_stop of x failed'],
  ])('is crash-consistent after %s, and says so', (_what, evidence, reason) => {
    expect(judgeGrade(evidence)).toEqual({ grade: 'crash-consistent', reason });
  });

  it('names everything, once, the weightiest first', () => {
    const { reason } = judgeGrade({ ...stop({ down: false }), runningAtProof: ['db', 'x'], resumedEarly: 'a signal' });
    expect(reason).toBe(
      'the apps came back before the snapshot was proven: a signal; db did not stop; x was running at the snapshot',
    );
  });
});
