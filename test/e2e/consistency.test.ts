import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { backUp, runningContainers, startBackup, startTimes, waitUntilDown } from '../lab/backup.ts';
import { openEngineProxy } from '../lab/engine-proxy.ts';
import { containerIdentity } from '../lab/identity.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import { lookIntoDatabase } from '../lab/postgres.ts';
import { plainService, postgresUnderWrites, writeRows } from '../lab/stacks.ts';
import { waitUntil } from '../lab/wait-until.ts';

const acknowledged = async (project: string): Promise<number> => {
  const text = await readFile(join(project, 'writer/acknowledged'), 'utf8').catch(() => ''); // Not there yet: none.
  return Number(text.trim().split('\n').at(-1) ?? 0);
};

describe.each(['hook', 'log'] as const)('a backup of PostgreSQL under writes, by the %s gate', (gate) => {
  let lab: Lab;
  let project: string;

  beforeAll(async () => {
    lab = await openLab({ gate });
    project = await lab.addStack('shop', postgresUnderWrites(containerIdentity()), {
      'writer/write-rows': writeRows,
      'pgdata/': '',
    });
    await waitUntil('the writer has written some rows', async () => (await acknowledged(project)) > 30);
  });
  afterAll(async () => await lab.close());

  it('is app-consistent: the database in the archive was shut down and holds every acknowledged row', async () => {
    const before = await startTimes(lab);
    const { code, result } = await backUp(lab);

    expect(result).toMatchObject({
      outcome: 'done',
      grade: 'app-consistent',
      grade_reason: null,
      gate,
      mode: 'snapshot',
      error: null,
    });
    expect(code).toBe(0);
    expect(result.stacks).toMatchObject([{ name: 'shop', containers: 2, clean_stop: true }]);

    const root = await lab.unpack({ paths: ['./srv/shop'] });
    const found = await lookIntoDatabase(lab.engine, join(root, 'srv/shop/pgdata'));
    expect(found.state).toBe('shut down');
    expect(found.last).toBeGreaterThanOrEqual(await acknowledged(join(root, 'srv/shop')));
    expect(found.count).toBe(found.last);

    const after = await startTimes(lab);
    expect(Object.keys(after)).toEqual(Object.keys(before));
    // A start time that is the old one would mean a container that was never stopped.
    const untouched = Object.keys(after).filter((name) => after[name] === before[name]);
    expect(untouched).toEqual([]);
    const rows = await acknowledged(project);
    await waitUntil('rows are written again', async () => (await acknowledged(project)) > rows);
  });

  it('without a quiesce would not have been: copied while it ran, the database is "in production"', async () => {
    const end = await lab.onHost('backup', 'now', String(lab.vmid), '--without-quiesce', '--json');
    expect([0, 5]).toContain(end.code);
    const root = await lab.unpack({ paths: ['./srv/shop'] });
    expect((await lookIntoDatabase(lab.engine, join(root, 'srv/shop/pgdata'))).state).toBe('in production');
  });
});

describe('a backup during which something went wrong is only crash-consistent, and says why', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await openLab({ controller: { bounds: { max_quiesce: '4s', stop_margin: '2s' } } });
    await lab.addStack('web', plainService('app', '    stop_grace_period: 1s\n'));
  });
  afterAll(async () => await lab.close());
  afterEach(async () => await lab.clearFaults());

  it('when the apps had to come back before the snapshot', async () => {
    await lab.order({ fault: 'freeze_hangs' });
    const backup = startBackup(lab);
    await waitUntilDown(lab, ['web-app-1']);
    await waitUntil('the app runs again, at the deadline', async () =>
      (await runningContainers(lab)).includes('web-app-1'),
    );
    await lab.clearFaults();
    const { code, result } = await backup.finished;
    expect(result).toMatchObject({ grade: 'crash-consistent' });
    expect(result.grade_reason).toMatch(/came back before the snapshot was proven/);
    expect(code).not.toBe(0);
  });

  it('when a container had to be killed', async () => {
    await lab.addStack('stubborn', ignoresTheStop);
    try {
      const { code, result } = await backUp(lab);
      expect(result).toMatchObject({ outcome: 'done', grade: 'crash-consistent' });
      expect(result.grade_reason).toContain('stubborn-app-1');
      expect(code).toBe(5);
    } finally {
      await lab.engine.docker('compose', '--project-name', 'stubborn', 'down');
    }
  });

  it('when a container was started between the stop and the snapshot', async () => {
    await lab.order({ fault: 'freeze_hangs' });
    const backup = startBackup(lab, { FELHOM_LOG: 'debug' });
    await waitUntilDown(lab, ['web-app-1']);
    await waitUntil('the run says quiesced', () => backup.controller.output().includes('quiesced'));
    await lab.engine.docker('start', 'web-app-1');
    await lab.clearFaults();
    const { code, result } = await backup.finished;
    expect(result).toMatchObject({ outcome: 'done', grade: 'crash-consistent' });
    expect(result.grade_reason).toContain('web-app-1 was started between the stop and the snapshot');
    expect(code).toBe(5);
  });

  it('when a one-off run goes on writing', async () => {
    const project = join(lab.guest, 'srv/web');
    const script = 'while :; do date >>/data/oneoff; sleep 0.1; done';
    await lab.engine.docker(
      'compose',
      '--project-directory',
      project,
      'run',
      '--detach',
      '--name',
      'one-off',
      'app',
      'sh',
      '-c',
      script,
    );
    try {
      const { code, result } = await backUp(lab);
      expect(result).toMatchObject({ outcome: 'done', grade: 'crash-consistent' });
      expect(result.grade_reason).toContain('one-off was running at the snapshot');
      expect(result.kept_running).toMatchObject([{ container: 'one-off', why: 'one-off' }]);
      expect(code).toBe(5);
    } finally {
      await lab.engine.docker('rm', '--force', 'one-off');
    }
  });

  it('when nobody saw whether something was started: the event stream broke', async () => {
    const proxy = await openEngineProxy(join(lab.folder, 'proxy.sock'), lab.engine.socket);
    try {
      await lab.order({ fault: 'freeze_hangs' });
      const backup = startBackup(lab, { DOCKER_HOST: proxy.host });
      await waitUntilDown(lab, ['web-app-1']);
      await waitUntil('the event stream is cut', () => proxy.cut('/events') > 0);
      await lab.clearFaults();
      const { code, result } = await backup.finished;
      expect(result).toMatchObject({ outcome: 'done', grade: 'crash-consistent' });
      expect(result.grade_reason).toContain('nobody saw whether something started meanwhile');
      expect(code).toBe(5);
    } finally {
      await proxy.close();
    }
  });

  it('and none of it left anything down', async () => {
    expect(await runningContainers(lab)).toEqual(['web-app-1']);
    expect((await backUp(lab)).result).toMatchObject({ outcome: 'done', grade: 'app-consistent', grade_reason: null });
  });
});

const ignoresTheStop = `
services:
  app:
    image: felhom/busybox:test
    stop_grace_period: 1s
    command: ["sh", "-c", "trap '' TERM; while :; do echo tick >>/data/ticks; sleep 1; done"]
    volumes: ["./data:/data"]
`;
