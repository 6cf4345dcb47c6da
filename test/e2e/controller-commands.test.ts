import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { backUp, runningContainers, startTimes } from '../lab/backup.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import { type Background, run } from '../lab/process.ts';
import { controllerProgram } from '../lab/programs.ts';
import { plainService } from '../lab/stacks.ts';
import { waitUntil } from '../lab/wait-until.ts';

let lab: Lab;
let watch: Background | undefined;

beforeAll(async () => {
  lab = await openLab({
    controller: { bounds: { watch_poll: '3s', watch_backoff: '200ms', watch_backoff_limit: '1s' } },
    simulator: ['--delays', 'recorded'],
  });
  await lab.addStack('web', plainService('app'));
  // Nothing is due by itself from here on.
  expect(await backUp(lab)).toMatchObject({ code: 0, result: { outcome: 'done', grade: 'app-consistent' } });
});
afterEach(async () => {
  await watch?.stop();
  watch = undefined;
});
afterAll(async () => await lab.close());

const objects = (output: string): Record<string, unknown>[] =>
  output
    .split('\n')
    .filter((line) => line.startsWith('{"schema":'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);

/** A watch that has spoken to the agent: from then on an operator's request reaches it. */
async function startWatch(name: string): Promise<Background> {
  const started = lab.startInGuest(name, ['backup', 'watch', '--json']);
  watch = started;
  await waitUntil('the host sees the guest calling', async () => {
    const asked = await lab.onHost('guest', 'show', String(lab.vmid), '--json');
    return asked.stdout.includes('"calling":true');
  });
  return started;
}

describe('backup watch', () => {
  it('answers every request of the host by one app-consistent backup, and ends 0 on SIGTERM', async () => {
    const watching = await startWatch('watch-1');
    for (const round of [1, 2]) {
      const asked = await lab.onHost('backup', 'now', String(lab.vmid), '--json');
      expect([round, asked.code]).toEqual([round, 0]);
      expect(JSON.parse(asked.stdout)).toMatchObject({ backups: [{ outcome: 'done', grade: 'app-consistent' }] });
    }
    await waitUntil('both runs are printed', () => objects(watching.output()).length === 2);
    expect(objects(watching.output())).toMatchObject([
      { schema: 'felhom.backup/1', outcome: 'done', grade: 'app-consistent' },
      { schema: 'felhom.backup/1', outcome: 'done', grade: 'app-consistent' },
    ]);
    watching.child.kill('SIGTERM');
    expect(await watching.ended).toEqual({ code: 0, signal: null });
  });

  it('goes on when its agent was away', async () => {
    const watching = await startWatch('watch-2');
    await lab.agent().stop();
    await waitUntil('the watch noticed', () => watching.output().includes('no agent answers'));
    await lab.startAgent();
    const asked = await lab.onHost('backup', 'now', String(lab.vmid), '--json');
    expect(JSON.parse(asked.stdout)).toMatchObject({ backups: [{ outcome: 'done', grade: 'app-consistent' }] });
    expect(watching.hasEnded()).toBe(false);
  });

  it('--once says that nothing is due and ends 0', async () => {
    const once = await lab.inGuest(['backup', 'watch', '--once', '--json']);
    expect(once.code).toBe(0);
    expect(objects(once.stdout)).toMatchObject([{ schema: 'felhom.due/1', due: false }]);
  });
});

describe('two backups at the same time', () => {
  it('are one: the other is told who holds the lock, stops nothing and ends 11', async () => {
    const before = (await lab.archives()).length;
    const ends = await Promise.all([1, 2].map(async () => await lab.inGuest(['backup', 'now', '--json'])));
    expect(ends.map(({ code }) => code).toSorted()).toEqual([0, 11]);
    const busy = ends.find(({ code }) => code === 11);
    expect(JSON.parse(busy?.stdout ?? '')).toMatchObject({
      schema: 'felhom.backup/1',
      outcome: 'aborted',
      error: { code: 'busy', message: expect.stringMatching(/process \d+.*nothing was stopped/) },
    });
    expect((await lab.archives()).length).toBe(before + 1);
  });
});

describe('backup now', () => {
  it('--no-wait returns with the apps back, and its record is completed by whoever asks later', async () => {
    const running = await lab.inGuest(['backup', 'now', '--no-wait', '--json']);
    expect(running.code).toBe(0);
    const [result] = objects(running.stdout);
    expect(result).toMatchObject({ outcome: 'running', job_id: expect.any(String), grade: 'app-consistent' });
    expect(await runningContainers(lab)).toEqual(['web-app-1']);
    await waitUntil('the job has ended', async () => {
      const status = await lab.inGuest(['backup', 'status', String(result?.['job_id']), '--json']);
      return (JSON.parse(status.stdout) as { phase: string }).phase === 'done';
    });
    const shown = await lab.inGuest(['backup', 'show', String(result?.['run_id']), '--json']);
    expect(JSON.parse(shown.stdout)).toMatchObject({
      outcome: 'done',
      grade: 'app-consistent',
      volid: expect.stringMatching(/^bk:backup\//),
    });
  });

  it('--dry-run stops nothing and asks for nothing', async () => {
    const [times, archives] = [await startTimes(lab), (await lab.archives()).length];
    const plan = await lab.inGuest(['backup', 'now', '--dry-run', '--json']);
    expect(plan.code).toBe(0);
    expect(JSON.parse(plan.stdout)).toMatchObject({
      schema: 'felhom.backup-plan/1',
      stacks: [{ name: 'web', containers: ['web-app-1'] }],
      stop_order: [['web-app-1']],
      expected_downtime_ms: expect.any(Number),
    });
    expect([await startTimes(lab), (await lab.archives()).length]).toEqual([times, archives]);
  });

  it.each([
    ['a pipe that nobody reads', '| true'],
    ['a full log disk', '>/dev/full 2>/dev/full'],
    ['closed descriptors', '>&- 2>&-'],
  ])('comes to its end with its output on %s', async (_name, redirection) => {
    const before = (await lab.archives()).length;
    const config = join(lab.guest, 'etc/felhom/controller.yaml');
    const script = `{ "$0" backup now --config "$1"; echo $? >"$2"; } ${redirection}`;
    const exit = join(lab.folder, 'exit');
    await run('sh', ['-c', script, controllerProgram, config, exit], { env: lab.guestEnvironment(), cwd: '/' });
    const code = await waitUntil(
      'it has ended',
      async () => (await readFile(exit, 'utf8').catch(() => '')).trim() || undefined,
    );
    expect([code, (await lab.archives()).length]).toEqual(['0', before + 1]);
    expect(await runningContainers(lab)).toEqual(['web-app-1']);
  });

  it('tells a stack list what it will do', async () => {
    const listed = await lab.inGuest(['stack', 'list', '--json']);
    expect(JSON.parse(listed.stdout)).toMatchObject({
      schema: 'felhom.stacks/1',
      stacks: [{ name: 'web', kind: 'compose', running: 1, in_a_backup: 'stop', held: null }],
    });
    expect((await lab.inGuest(['stack', 'show', 'web'])).stdout).toContain('web: Compose project, 1 of 1 run');
    await lab.inGuest(['stack', 'hold', 'web', '--reason', 'new disk']);
    expect((await lab.inGuest(['stack', 'list'])).stdout).toMatch(/^web +compose +1\/1 +stop +new disk$/m);
    expect((await lab.inGuest(['stack', 'show', 'web'])).stdout).toContain('(new disk): nothing starts or upgrades it');
    await lab.inGuest(['stack', 'release', 'web']);
  });

  it('says of a stack that is not there that it is not there', async () => {
    for (const command of [
      ['upgrade', 'apply', 'wbe'],
      ['snapshot', 'prune', 'wbe'],
      ['stack', 'show', 'wbe'],
    ]) {
      const end = await lab.inGuest(command);
      expect([command, end.code, end.stdout]).toEqual([command, 12, '']);
      expect(end.stderr).toMatch(/^error: .*wbe.*\n {2}\S/);
    }
    // Held is what will be there, too; a name that was mistyped is told.
    expect((await lab.inGuest(['stack', 'hold', 'wbe'])).stderr).toContain('docker knows no stack "wbe" now');
  });
});
