import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentError } from '@felhom/guest-api/agent-api.ts';
import type { JobStatus } from '@felhom/guest-api/schema.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { exampleResult } from '../commands/example-result.ts';
import type { OpenRun } from '../quiesce/ports.ts';
import { glanceAtRuns } from '../state/run-glance.ts';
import { completeRuns } from './complete-runs.ts';
import { fileHistory } from './history.ts';

let stateDir: string;

beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'felhom-history-'));
});
afterEach(async () => await rm(stateDir, { recursive: true, force: true }));

const openRun = (second: number, change: Partial<OpenRun> = {}): OpenRun => ({
  runId: `20261120T0100${String(second).padStart(2, '0')}-abcdef`,
  jobId: null,
  bootId: 'boot-1',
  startedAtMs: Date.UTC(2026, 10, 20, 1, 0, second),
  ...change,
});

describe('the history of runs', () => {
  it('knows a run from its first moment, and as unfinished until it has ended', async () => {
    const history = fileHistory({ stateDir, keep: 10 });
    await history.begin(openRun(1));
    await history.begin(openRun(1, { jobId: 'job-1' }));
    expect(await history.unfinished()).toEqual([openRun(1, { jobId: 'job-1' })]);
    await history.end(openRun(1), exampleResult());
    expect(await history.unfinished()).toEqual([]);
    expect((await history.find('20261120T0100')).result).toEqual(exampleResult());
  });

  it('keeps as many as it is told to', async () => {
    const history = fileHistory({ stateDir, keep: 3 });
    for (let second = 1; second <= 6; second += 1) await history.end(openRun(second), exampleResult());
    expect((await readdir(join(stateDir, 'history'))).length).toBe(3);
    expect((await history.list(10)).map(({ run }) => run.runId)).toEqual(
      [6, 5, 4].map((second) => openRun(second).runId),
    );
  });

  it('is not hidden by a file that cannot be read', async () => {
    const history = fileHistory({ stateDir, keep: 10 });
    await history.end(openRun(1), exampleResult());
    await writeFile(join(stateDir, 'history', '20261120T010002-broken.json'), '{"version":1,');
    expect(await history.list(10)).toHaveLength(1);
    await expect(history.find('20261120T010002-broken')).rejects.toMatchObject({ code: 'state_unreadable' });
    await expect(history.find('nothing')).rejects.toMatchObject({ code: 'not_found' });
    expect(glanceAtRuns(stateDir, 10)).toHaveLength(1);
  });

  it('is told by status in the same words, without its schemas', async () => {
    const history = fileHistory({ stateDir, keep: 10 });
    await history.end(
      openRun(1),
      exampleResult({ error: { code: 'backup_failed', message: 'it broke', hint: 'mend it' } }),
    );
    await history.begin(openRun(2));
    expect(glanceAtRuns(stateDir, 10)).toEqual([
      {
        run_id: openRun(2).runId,
        started_at: '2026-11-20T01:00:02.000Z',
        outcome: null,
        grade: null,
        volid: null,
        message: null,
      },
      {
        run_id: openRun(1).runId,
        started_at: '2026-11-20T01:00:01.000Z',
        outcome: 'done',
        grade: 'app-consistent',
        volid: 'pbs:backup/ct/101/2026-11-20T01:00:07Z',
        message: 'it broke',
      },
    ]);
  });
});

describe('a run that nobody waited for', () => {
  const status = (change: Partial<JobStatus>): JobStatus => ({
    job_id: 'job-1',
    phase: 'done',
    seq: 9,
    origin: 'controller',
    mode: 'snapshot',
    gate: 'hook',
    storage: 'pbs',
    storage_type: 'pbs',
    progress: 100,
    size_bytes: 4096,
    excluded: [],
    upid: null,
    volid: 'pbs:backup/ct/101/x',
    proof: null,
    degraded: null,
    error: null,
    ...change,
  });
  const running = exampleResult({ outcome: 'running', volid: null, size_bytes: null });

  async function complete(answer: () => Promise<JobStatus>) {
    const history = fileHistory({ stateDir, keep: 10 });
    await history.end(openRun(1), running);
    const warnings: string[] = [];
    await completeRuns(history, { status: answer }, (text) => warnings.push(text));
    expect(warnings).toEqual([]);
    return (await history.find(openRun(1).runId)).result;
  }

  it('gets the end of its job', async () => {
    expect(await complete(async () => status({}))).toMatchObject({
      outcome: 'done',
      grade: 'app-consistent',
      volid: 'pbs:backup/ct/101/x',
      size_bytes: 4096,
      error: null,
    });
  });

  it('has failed when its job has, and then has no grade', async () => {
    const error = { code: 'pve', message: 'no space left on pbs', hint: 'make room' };
    expect(await complete(async () => status({ phase: 'failed', volid: null, error }))).toMatchObject({
      outcome: 'failed',
      grade: null,
      error: { code: 'backup_failed', message: 'no space left on pbs; the apps are running', hint: 'make room' },
    });
  });

  it('stays as it is while the job lasts, and while no agent answers', async () => {
    expect(await complete(async () => status({ phase: 'snapshotted' }))).toEqual(running);
    const silent = new AgentError('unreachable', { code: 'agent_unreachable', message: 'm', hint: 'h' });
    expect(await complete(async () => await Promise.reject(silent))).toEqual(running);
  });
});
