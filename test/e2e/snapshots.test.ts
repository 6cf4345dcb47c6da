import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runningContainers, startTimes, waitUntilUp } from '../lab/backup.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import { lookIntoDatabase } from '../lab/postgres.ts';
import { must, type RunEnd } from '../lab/process.ts';
import { debtFiles, waitUntilNoRecovery } from '../lab/steps.ts';
import { waitUntil } from '../lab/wait-until.ts';

/*
 * Built controller, real engine, real PostgreSQL: a stack's data is kept, damaged and brought back; kill -9 in the middle
 * of either, and the guard settles it. The test itself calls nothing of ours after the blow.
 */

let lab: Lab;
let project: string;
const apps = ['shop-db-1', 'shop-files-1'];

beforeAll(async () => {
  lab = await openLab();
  project = await lab.addStack('shop', shop, { 'pgdata/': '' });
  await sql('create table rows (n bigint primary key)');
});
afterAll(async () => await lab.close());

async function sql(text: string): Promise<string> {
  const psql = ['psql', '-h', '127.0.0.1', '-U', 'postgres', '-qAtc', text];
  return (await lab.engine.docker('exec', 'shop-db-1', ...psql)).trim();
}

async function compose(...verb: string[]): Promise<void> {
  await lab.engine.docker('compose', '-p', 'shop', ...verb);
}

function parse(end: RunEnd): Record<string, unknown> {
  if (end.stdout === '') throw new Error(`nothing was printed, exit ${end.code}: ${end.stderr}`);
  return JSON.parse(end.stdout) as Record<string, unknown>;
}

async function create(...flags: string[]): Promise<string> {
  const end = await lab.inGuest(['snapshot', 'create', 'shop', ...flags, '--json']);
  const result = parse(end) as { snapshot: { id: string } | null };
  if (end.code !== 0 || result.snapshot === null) throw new Error(`snapshot create ended ${end.code}: ${end.stdout}`);
  return result.snapshot.id;
}

async function leftovers(): Promise<string[]> {
  const found = await must('find', [project, join(lab.guest, 'var/lib/felhom'), '-name', '.felhom-restore-*']);
  return found.split('\n').filter((line) => line !== '');
}

describe('a snapshot of a stack with PostgreSQL', () => {
  it('is refused while the stack runs, and nothing is stopped', async () => {
    const before = await startTimes(lab);
    const end = await lab.inGuest(['snapshot', 'create', 'shop', '--json']);
    expect(end.code).toBe(13);
    expect(parse(end)).toMatchObject({ outcome: 'failed', error: { code: 'stack_running' } });
    expect(await startTimes(lab)).toEqual(before);
  });

  it('brings every row back after the data was lost, and not one that came later', async () => {
    await sql('insert into rows select generate_series(1, 500)');
    await writeFile(join(project, 'files/early'), 'early');
    const before = await startTimes(lab);
    const id = await create('--quiesce');
    expect(await runningContainers(lab)).toEqual(apps);
    expect(Object.values(await startTimes(lab))).not.toContain(before['shop-db-1']);
    expect(await debtFiles(lab)).toEqual([]);
    await waitUntil('the database answers', async () => (await sql('select 1').catch(() => '')) === '1');
    await sql('insert into rows values (1000)');
    await writeFile(join(project, 'files/later'), 'later');
    await compose('stop');
    await must('sh', ['-c', 'rm -rf "$0"/base "$0"/global', join(project, 'pgdata')]);
    const restored = await lab.inGuest(['snapshot', 'restore', 'shop', '--json']);
    expect({ code: restored.code, ...parse(restored) }).toMatchObject({ code: 0, id, error: null });
    expect(await lookIntoDatabase(lab.engine, join(project, 'pgdata'))).toEqual({
      state: 'shut down',
      count: 500,
      last: 500,
    });
    expect(await readdir(join(project, 'files'))).toEqual(['early']);
    await compose('start');
    await waitUntilUp(lab, apps);
    expect(await leftovers()).toEqual([]);
  });

  it('shares its blocks with the data where the file system can', async () => {
    const listed = parse(await lab.inGuest(['snapshot', 'list', 'shop', '--json']));
    const method = lab.disk.kind === 'btrfs' ? 'tree' : 'archive';
    expect(listed).toMatchObject({
      stacks: [{ snapshots: [{ last_good: true, sealed: true, sources: [{ method }, { method }] }] }],
    });
    expect((await lab.inGuest(['snapshot', 'verify', 'shop'])).code).toBe(0);
  });
});

describe('kill -9', () => {
  it('while the data is read: the guard brings the stack back, and there is no half snapshot', async () => {
    await archivesFrom(250);
    const controller = lab.startInGuest('create-killed', ['snapshot', 'create', 'shop', '--quiesce'], {
      FELHOM_LOG: 'debug',
    });
    await waitUntil('the stack is down', async () => (await runningContainers(lab)).length === 0, { everyMs: 5 });
    controller.child.kill('SIGKILL');
    await controller.ended;
    await waitUntilUp(lab, apps);
    await waitUntil('nothing is owed', async () => (await debtFiles(lab)).length === 0);
    const before = await ids();
    await waitUntilNoRecovery(lab);
    await create('--quiesce');
    expect((await ids()).length).toBe(Math.min(3, before.length + 1));
    const folder = join(archives(), 'shop');
    expect((await readdir(folder)).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('while a restore unpacks: the guard undoes it, the data is as it was', async () => {
    await compose('stop');
    await writeFile(join(project, 'files/mine'), 'written since');
    const controller = lab.startInGuest('restore-unpacking', ['snapshot', 'restore', 'shop']);
    await waitUntil('it unpacks', async () => (await leftovers()).length > 0, { everyMs: 2 });
    controller.child.kill('SIGKILL');
    await controller.ended;
    await settledByGuard();
    expect(await readdir(join(project, 'files'))).toEqual(['early', 'mine', 'much']);
    expect(await leftovers()).toEqual([]);
  });

  it('while a restore exchanges: the guard finishes it, and never half of it', async () => {
    const controller = lab.startInGuest('restore-swapping', ['snapshot', 'restore', 'shop']);
    const debt = join(lab.guest, 'var/lib/felhom/debts/restore.a.json');
    await waitUntil(
      'it exchanges',
      async () => controller.hasEnded() || (await must('cat', [debt]).catch(() => '')).includes('"swapping"'),
      { everyMs: 1 },
    );
    controller.child.kill('SIGKILL');
    await controller.ended;
    await settledByGuard();
    expect(await readdir(join(project, 'files'))).toEqual(['early', 'much']);
    expect(await leftovers()).toEqual([]);
    await compose('start');
    await waitUntilUp(lab, apps);
  });
});

describe('pruning', () => {
  it('leaves the newest, which is the last good one', async () => {
    const [newest, ...older] = await ids();
    expect(older.length).toBeGreaterThan(0);
    const pruned = parse(await lab.inGuest(['snapshot', 'prune', 'shop', '--keep', '1', '--json']));
    expect(pruned).toMatchObject({ removed: expect.arrayContaining(older), kept: [newest] });
    expect(await ids()).toEqual([newest]);
  });
});

async function settledByGuard(): Promise<void> {
  await waitUntil('nothing is owed', async () => (await debtFiles(lab)).length === 0);
  await waitUntilNoRecovery(lab);
}

const archives = (): string => join(lab.folder, 'elsewhere');

async function ids(): Promise<string[]> {
  const listed = parse(await lab.inGuest(['snapshot', 'list', 'shop', '--json']));
  const { stacks } = listed as { stacks: { snapshots: { id: string }[] }[] };
  return (stacks[0]?.snapshots ?? []).map(({ id }) => id);
}

/** From now on snapshots lie on another disk, as archives, and take a moment. */
async function archivesFrom(megabytes: number): Promise<void> {
  await must('sh', ['-c', `head -c ${megabytes}000000 /dev/urandom >"$0"`, join(project, 'files/much')]);
  await mkdir(archives(), { recursive: true });
  const file = join(lab.guest, 'etc/felhom/controller.yaml');
  const text = await must('cat', [file]);
  await rm(file);
  await writeFile(file, `${text}snapshots: { dir: ${archives()} }\n`, { mode: 0o600 });
  await create('--quiesce');
}

const shop = `
services:
  db:
    image: felhom/postgres:test
    restart: "no"
    volumes: ["./pgdata:/var/lib/postgresql/data"]
    healthcheck:
      test: ["CMD-SHELL", "pg_isready -q -h 127.0.0.1 -U postgres"]
      interval: 1s
      retries: 30
      start_period: 20s
  files:
    image: felhom/busybox:test
    restart: "no"
    command: ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $$!; done"]
    volumes: ["./files:/files"]
`;
