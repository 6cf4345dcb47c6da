import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memoryOutput } from '@felhom/cli/output.ts';
import { runMain } from '@felhom/cli/run-main.ts';
import { processStartTime } from '@felhom/durable/run-lock.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { alertStore } from '../alerts/alert-store.ts';
import { fileHistory } from '../history/history.ts';
import { buildProgram } from '../program.ts';
import type { Debt, Marker } from '../quiesce/marker.ts';
import { openMarkers } from '../wiring.ts';
import { exampleResult } from './example-result.ts';
import { metricsText } from './status-metrics.ts';

let folder: string;
const state = (): string => join(folder, 'state');

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'felhom-status-'));
  await writeFile(join(folder, 'c.yaml'), `state_dir: ${state()}\nrun_dir: ${join(folder, 'run')}\n`);
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

const status = async (...args: string[]) => await command('status', ...args);

async function command(...args: string[]) {
  const [stdout, stderr] = [memoryOutput(), memoryOutput()];
  const exit = await runMain({
    argv: [...args, '--config', join(folder, 'c.yaml')],
    build: (setExit) => buildProgram({ setExit, env: {}, stdout, stderr }),
    stdout,
    stderr,
  });
  return { exit, stdout: stdout.text(), stderr: stderr.text() };
}

const debt: Debt = {
  id: 'c1',
  name: 'paperless-db-1',
  project: 'paperless',
  service: 'db',
  number: 1,
  started_at: '2026-11-20T00:00:00Z',
  was: 'running',
  was_healthy: false,
  restart_policy: 'no',
  stop_grace_ms: 10_000,
  health_limit_ms: 0,
  dependencies: [],
  namespaces_of: [],
  compose_files: [],
  env_files: [],
  working_dir: null,
  run_id: 'run-1',
};

async function owe(what: Pick<Marker, 'debts' | 'after_start'> = { debts: [debt], after_start: [] }): Promise<void> {
  const times = { written_at_ms: 1, deadline_at_ms: 2 };
  await openMarkers({ state_dir: state() }).write({
    run_id: 'run-1',
    job_id: null,
    boot_id: 'b',
    engine_id: 'e',
    ...times,
    ...what,
  });
}

async function ended(change: Parameters<typeof exampleResult>[0]): Promise<void> {
  const run = { runId: '20261120T010000-a1b2c3', jobId: 'job-1', bootId: 'b', startedAtMs: Date.UTC(2026, 10, 20, 1) };
  await fileHistory({ stateDir: state(), keep: 5 }).end(run, exampleResult(change));
}

describe('status', () => {
  it('without a configuration says so and ends 0, also with --check', async () => {
    await rm(join(folder, 'c.yaml'));
    const told = await status();
    expect(told.exit).toBe(0);
    expect(told.stdout).toMatch(/^felhom-controller is not configured: there is no .*c\.yaml\n/);
    const checked = await status('--check', '--state-dir', state(), '--json');
    expect(checked.exit).toBe(0);
    expect(JSON.parse(checked.stdout)).toMatchObject({
      schema: 'felhom.status/1',
      configured: false,
      apps: 'fine',
      attention: [],
    });
  });

  it('is 0 under --check when nothing is owed and the last backup is good', async () => {
    await ended({});
    const { exit, stdout } = await status('--check', '--json');
    expect(exit).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      apps: 'fine',
      last_run: { outcome: 'done' },
      last_backup: { volid: 'pbs:backup/ct/101/2026-11-20T01:00:07Z' },
      attention: [],
    });
  });

  it('is 20 under --check when apps are owed a start, and names them and the command', async () => {
    await owe();
    expect((await status()).exit).toBe(0);
    const { exit, stdout } = await status('--check');
    expect(exit).toBe(20);
    expect(stdout).toContain('DOWN since an interrupted run: paperless/db');
    expect(stdout).toContain('type: felhom-controller recover');
  });

  it('is 20 also where only the command after a start is owed, and names the service it is owed to', async () => {
    await owe({ debts: [], after_start: [{ stack: 'paperless', service: 'app', command: 'maintenance off' }] });
    const { exit, stdout } = await status('--check');
    expect(exit).toBe(20);
    expect(stdout).toContain('DOWN since an interrupted run: paperless/app');
    expect(stdout).toContain('type: felhom-controller recover');
  });

  it('does not call apps owed that a living run has stopped', async () => {
    await owe();
    await mkdir(join(folder, 'run'));
    const holder = {
      pid: process.pid,
      startTime: await processStartTime(process.pid),
      purpose: 'backup',
      runId: 'run-1',
      deadlineMs: 0,
    };
    await writeFile(join(folder, 'run', 'engine-e.lock'), JSON.stringify(holder));
    const { exit, stdout } = await status('--check', '--json');
    expect(exit).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      apps: 'stopped for a run',
      run: { pid: process.pid, what: 'backup', run_id: 'run-1' },
    });
  });

  it('is 20 under --check when both copies of the marker cannot be read, or a newer version wrote them', async () => {
    await mkdir(join(state(), 'debts'), { recursive: true });
    for (const text of ['{"ver', '{"version":99,"value":{}}']) {
      await writeFile(join(state(), 'debts', 'quiesce.a.json'), text);
      await writeFile(join(state(), 'debts', 'quiesce.b.json'), text);
      const { exit, stdout } = await status('--check');
      expect(exit).toBe(20);
      expect(stdout).toContain('apps may be down: the marker');
    }
  });

  it.each([
    [
      { outcome: 'failed', grade: null, error: { code: 'backup_failed', message: 'no space left', hint: 'h' } },
      'the last run failed: no space left',
    ],
    [
      { grade: 'crash-consistent', grade_reason: 'web was killed' },
      'the last backup is only crash-consistent: web was killed',
    ],
  ] as const)('is 6 under --check when the last run went badly: %#', async (change, words) => {
    await ended(change);
    const { exit, stdout } = await status('--check');
    expect(exit).toBe(6);
    expect(stdout).toContain(words);
  });

  it('is 6 under --check for a restored copy, and names the command that lets it in', async () => {
    await mkdir(join(state(), 'identity'), { recursive: true });
    const refusal = {
      reason: 'restored_copy',
      message: 'this is a copy of guest 101 of yesterday',
      hint: 'Nothing to do here.',
      at: '2026-11-20T01:00:00Z',
    };
    await writeFile(join(state(), 'identity', 'refused.json'), JSON.stringify({ version: 1, value: refusal }));
    const { exit, stdout } = await status('--check');
    expect(exit).toBe(6);
    expect(stdout).toContain('this is a copy of guest 101 of yesterday');
    expect(stdout).toContain('felhom-agent guest adopt VMID');
  });

  it('is 6 under --check when the configuration is broken, and still tells the state', async () => {
    await writeFile(join(folder, 'c.yaml'), `state_dir: ${state()}\nstats: 1\n`);
    const { exit, stdout } = await status('--check');
    expect(exit).toBe(6);
    expect(stdout).toContain('stats: unknown key');
    expect((await status()).exit).toBe(0);
  });

  it('with --live says what docker and the agent answer, or why they do not', async () => {
    const { exit, stdout } = await status('--live', '--json');
    expect(exit).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      live: { agent: expect.stringMatching(/^config_missing: /), due: null },
    });
  });
});

describe('what upgrades leave', () => {
  it('is owed where one was cut off: exit 20, and what to type', async () => {
    await mkdir(join(state(), 'debts'), { recursive: true });
    await writeFile(
      join(state(), 'debts/upgrade.a.json'),
      JSON.stringify({ version: 1, sequence: 1, value: { stack: 'shop', phase: 'activated' } }),
    );
    const { exit, stdout } = await status('--check');
    expect(exit).toBe(20);
    expect(stdout).toContain('DOWN since an interrupted run: shop (upgrade)');
    expect(stdout).toContain('an upgrade of shop was cut off (activated); type: felhom-controller recover');
  });

  it('is an alert until somebody acknowledges it', async () => {
    const raised = {
      id: 'run-1',
      stack: 'shop',
      attempted: 'app=app:2',
      last_good: 'app=app:1',
      recovered: true,
      at: '2026-11-20T01:00:00.000Z',
      message: 'shop was rolled back: it is not healthy',
      hint: 'felhom-controller upgrade allow shop',
    };
    await alertStore({ stateDir: state() }).raise(raised);
    const before = await status('--check');
    expect(before.exit).toBe(6);
    expect(before.stdout).toContain(
      'shop was rolled back: it is not healthy; once you know: felhom-controller alert ack run-1',
    );
    expect(await command('alert', 'list')).toMatchObject({ exit: 0, stdout: expect.stringContaining('app=app:1') });
    expect(await command('alert', 'ack', 'run-1')).toMatchObject({ exit: 0 });
    expect(await status('--check')).toMatchObject({ exit: 0 });
    expect(await command('alert', 'ack')).toMatchObject({ exit: 12 });
    expect((await command('alert', 'list')).stdout).toBe('there are no alerts\n');
  });

  it('is told by name to Prometheus: phase, attempts, failures, last success, snapshot age and size', () => {
    const upgrade = {
      stack: 'shop',
      phase: 'verifying',
      target: 'app=sha256:2',
      attempts: 2,
      failures: 1,
      last_error: null,
      updated_at: null,
      last_success_at: '2026-11-20T01:00:00.000Z',
      waits_for_person: false,
      rungs: [],
    };
    const never = { ...upgrade, stack: 'a "b"', phase: 'failed', attempts: 1, failures: 0, last_success_at: null };
    const snapshot = { stack: 'shop', id: '1', created_at: '2026-11-20T01:00:00.000Z', content_bytes: 4_096, count: 3 };
    const seen = { upgrades: [upgrade, never], alerts: [], owed: [], last_backup: null };
    const text = metricsText(seen, [snapshot], Date.parse('2026-11-20T02:00:00.000Z'));
    expect(text.split('\n').filter((line) => /^felhom_(upgrade|snapshot)/.test(line))).toEqual([
      'felhom_upgrade_phase{stack="shop",phase="verifying"} 1',
      'felhom_upgrade_phase{stack="a \\"b\\"",phase="failed"} 1',
      'felhom_upgrade_attempts{stack="shop"} 2',
      'felhom_upgrade_attempts{stack="a \\"b\\""} 1',
      'felhom_upgrade_check_failures{stack="shop"} 1',
      'felhom_upgrade_check_failures{stack="a \\"b\\""} 0',
      'felhom_upgrade_last_success_timestamp_seconds{stack="shop"} 1795136400',
      'felhom_snapshot_age_seconds{stack="shop"} 3600',
      'felhom_snapshot_size_bytes{stack="shop"} 4096',
      'felhom_snapshots{stack="shop"} 3',
    ]);
  });

  it('is written as a textfile, readable by its collector', async () => {
    const path = join(folder, 'felhom.prom');
    expect(await status('--textfile', path)).toMatchObject({ exit: 0 });
    expect(await readFile(path, 'utf8')).toContain('felhom_apps_owed 0\n');
    expect((await stat(path)).mode & 0o777).toBe(0o644);
    const failed = await status('--textfile', join(folder, 'nowhere/felhom.prom'));
    expect(failed).toMatchObject({ exit: 3, stderr: expect.stringContaining('the apps are not touched') });
  });
});
