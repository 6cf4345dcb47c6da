import { describe, expect, it } from 'vitest';
import { compactRecords, isOpen, type JobRecord, jobMachine, newJob, replay } from './job.ts';

const at = '2026-11-20T01:00:00.000Z';
const make = (id: string, vmid = 101) =>
  newJob({ job_id: id, vmid, origin: 'controller', opened_at: at, host_boot_id: 'b', quiesce: true });

describe('the records of jobs', () => {
  it('tell what a job is, the newest value of each field counting', () => {
    const records: JobRecord[] = [
      { kind: 'opened', job: make('a') },
      { kind: 'changed', job_id: 'a', at, set: { phase: 'ready', seq: 2 } },
      { kind: 'changed', job_id: 'a', at, set: { phase: 'capturing', seq: 3, upid: 'U' } },
      { kind: 'changed', job_id: 'never-opened', at, set: { phase: 'done' } },
    ];
    expect([...replay(records).values()]).toMatchObject([{ job_id: 'a', phase: 'capturing', seq: 3, upid: 'U' }]);
  });

  it('keep every job that owes something through a compaction, and the newest others', () => {
    const ended = (id: string): JobRecord[] => [
      { kind: 'opened', job: make(id) },
      { kind: 'changed', job_id: id, at, set: { phase: 'failed', task_ended: true } },
    ];
    const records = [{ kind: 'opened' as const, job: make('open') }, ...['a', 'b', 'c'].flatMap(ended)];
    const kept = compactRecords(records, 2);
    expect([...replay(kept).keys()]).toEqual(['open', 'b', 'c']);
    expect(replay(kept).get('c')).toEqual(replay(records).get('c'));
  });

  it('keep a lane held by a job that failed while its task runs on', () => {
    expect(isOpen({ ...make('a'), phase: 'failed', upid: 'U' })).toBe(true);
    expect(isOpen({ ...make('a'), phase: 'failed', upid: 'U', task_ended: true })).toBe(false);
    expect(isOpen({ ...make('a'), phase: 'failed' })).toBe(false);
  });
});

describe('the phases', () => {
  it('never lead from a proven snapshot back, nor out of an end', () => {
    expect(jobMachine.next('snapshotted')).toEqual(['done', 'failed', 'cancelled']);
    for (const end of jobMachine.terminal) expect(jobMachine.next(end)).toEqual([]);
    expect(jobMachine.canStep('ready', 'snapshotted')).toBe(false);
    expect(jobMachine.canStep('queued', 'snapshotted')).toBe(false);
  });
});
