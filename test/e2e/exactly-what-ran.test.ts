import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BackupEnd, backUp, containerStates, runningContainers, startTimes, waitUntilUp } from '../lab/backup.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import { plainService } from '../lab/stacks.ts';
import { debtFiles, runToHangingSnapshot, waitUntilNoRecovery } from '../lab/steps.ts';
import { waitUntil } from '../lab/wait-until.ts';

/*
 * One guest with everything that a stop and a start can get wrong, one backup, and then a look at each of them.
 */

const idle = `["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $$!; done"]`;

const mixed = `
services:
  db:
    image: felhom/busybox:test
    restart: always
    command: ${idle}
    volumes: ["./db:/data"]
  migrate:
    image: felhom/busybox:test
    restart: "no"
    depends_on: [db]
    command: ["sh", "-c", "echo run >>/data/migrations"]
    volumes: ["./app:/data"]
  app:
    image: felhom/busybox:test
    restart: "no"
    depends_on:
      db: { condition: service_started }
      migrate: { condition: service_completed_successfully }
    command: ${idle}
    volumes: ["./app:/data"]
  beside:
    image: felhom/busybox:test
    restart: unless-stopped
    network_mode: "service:app"
    command: ${idle}
    volumes: ["./beside:/data"]
  off:
    image: felhom/busybox:test
    restart: always
    command: ${idle}
  worker:
    image: felhom/busybox:test
    restart: unless-stopped
    scale: 3
    command: ${idle}
    volumes: ["./worker:/data"]
  looping:
    image: felhom/busybox:test
    restart: always
    command: ["sh", "-c", "sleep 0.3; exit 1"]
`;

const whatRan = [
  'broken-app-1',
  'gone-app-1',
  'mixed-app-1',
  'mixed-beside-1',
  'mixed-db-1',
  'mixed-worker-1',
  'mixed-worker-3',
  'one-off',
  'plain',
];

let lab: Lab;
let before: Record<string, string>;
let backup: BackupEnd;

beforeAll(async () => {
  lab = await openLab();
  const { engine } = lab;
  // The looping service never counts as up, so nothing waits for it.
  const project = await lab.addStack('mixed', mixed, {}, { wait: false });
  await engine.docker('stop', 'mixed-off-1', 'mixed-worker-2');
  const gone = await lab.addStack('gone', plainService('app'));
  await rm(join(gone, 'compose.yaml'));
  const broken = await lab.addStack('broken', plainService('app'));
  await writeFile(join(broken, 'compose.yaml'), 'services: { app: [ this is no compose file');
  const endless = ['sh', '-c', "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"];
  await engine.docker(
    'run',
    '--detach',
    '--name',
    'plain',
    '--volume',
    `${lab.guest}/srv/plain:/data`,
    'felhom/busybox:test',
    ...endless,
  );
  await engine.docker(
    'compose',
    '--project-directory',
    project,
    'run',
    '--detach',
    '--no-deps',
    '--name',
    'one-off',
    'app',
    ...endless,
  );
  await waitUntil('everything that should run runs', async () => {
    const up = await runningContainers(lab);
    return whatRan.every((name) => up.includes(name));
  });
  before = await startTimes(lab);
  // A person who works in another project has these in the environment.
  backup = await backUp(lab, { COMPOSE_FILE: '/nowhere/compose.yaml', COMPOSE_PROJECT_NAME: 'another' });
});
afterAll(async () => await lab.close());

const addressesOf = async (name: string): Promise<string> =>
  await lab.engine.docker('exec', name, 'ip', '-o', '-4', 'addr');
const withoutLooping = (names: readonly string[]): string[] => names.filter((name) => name !== 'mixed-looping-1');

describe('after a backup', () => {
  it('exactly what ran runs', async () => {
    expect(withoutLooping(await runningContainers(lab))).toEqual(whatRan);
  });

  it('what ran and was stopped has a new start; what was left alone has its old one', async () => {
    const after = await startTimes(lab);
    const same = withoutLooping(Object.keys(after).filter((name) => after[name] === before[name]));
    expect(same.toSorted()).toEqual(backup.result.kept_running.map(({ container }) => container).toSorted());
    expect(same).toEqual(['one-off']);
  });

  it('what was off is off: a service, one of three replicas, a finished migration', async () => {
    expect(await containerStates(lab)).toMatchObject({
      'mixed-off-1': 'exited',
      'mixed-worker-2': 'exited',
      'mixed-migrate-1': 'exited',
    });
  });

  it('the migration has not run again', async () => {
    expect(await readFile(join(lab.guest, 'srv/mixed/app/migrations'), 'utf8')).toBe('run\n');
  });

  it('the container that crashes in a loop still does', async () => {
    const state = async (): Promise<string> => (await containerStates(lab))['mixed-looping-1'] ?? 'gone';
    const seen = await waitUntil('it runs or is about to', async () => {
      const now = await state();
      return (now === 'running' || now === 'restarting') && now;
    });
    expect(['running', 'restarting']).toContain(seen);
    const count = async (): Promise<number> =>
      Number(await lab.engine.docker('inspect', '--format', '{{.RestartCount}}', 'mixed-looping-1'));
    const first = await count();
    await waitUntil('it has crashed once more', async () => (await count()) > first);
  });

  it('the shared network is one network again', async () => {
    expect(await addressesOf('mixed-beside-1')).toBe(await addressesOf('mixed-app-1'));
  });

  it('the result names what kept running, and the backup is graded by it', () => {
    expect(backup.result).toMatchObject({ outcome: 'done', grade: 'crash-consistent', owed: [], error: null });
    expect(backup.result.kept_running).toEqual([{ stack: 'mixed', container: 'one-off', why: 'one-off' }]);
    expect(backup.result.grade_reason).toContain('one-off was running at the snapshot');
    expect(backup.result.stacks.map(({ name }) => name).toSorted()).toEqual(['broken', 'gone', 'mixed', 'plain']);
    expect(backup.code).toBe(5);
  });

  it('a second one without the one-off is app-consistent, and changes as little', async () => {
    await lab.engine.docker('rm', '--force', 'one-off', 'mixed-looping-1');
    const second = await backUp(lab);
    expect(second.result).toMatchObject({ outcome: 'done', grade: 'app-consistent', grade_reason: null });
    expect(await runningContainers(lab)).toEqual(whatRan.filter((name) => name !== 'one-off'));
    expect(await readFile(join(lab.guest, 'srv/mixed/app/migrations'), 'utf8')).toBe('run\n');
  });

  it('what lives in the network of a container that was made anew meanwhile is made anew too, by nobody but the guard', async () => {
    const ran = whatRan.filter((name) => name !== 'one-off');
    const controller = await runToHangingSnapshot(lab, ran);
    const project = ['compose', '--project-directory', join(lab.guest, 'srv/mixed')];
    await lab.engine.docker(...project, 'up', '--detach', '--no-deps', '--force-recreate', 'app');
    controller.child.kill('SIGKILL');
    await waitUntilUp(lab, ran);
    await waitUntil('nothing is owed', async () => (await debtFiles(lab)).length === 0);
    await waitUntilNoRecovery(lab);
    expect(await addressesOf('mixed-beside-1')).toBe(await addressesOf('mixed-app-1'));
    expect(await runningContainers(lab)).toEqual(ran);
    expect(await readFile(join(lab.guest, 'srv/mixed/app/migrations'), 'utf8')).toBe('run\n');
  });
});
