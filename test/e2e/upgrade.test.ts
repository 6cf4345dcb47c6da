import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { UpgradeResult } from 'felhom-controller/commands/upgrade-result.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { type Lab, openLab } from '../lab/lab.ts';
import { must } from '../lab/process.ts';
import { debtFiles } from '../lab/steps.ts';
import {
  addShop,
  editShop,
  failing,
  makeImage,
  quickUpgrades,
  serving,
  standingOf,
  upgradeTo,
  upgradeToStep,
} from '../lab/upgrades.ts';
import { waitUntil } from '../lab/wait-until.ts';

/*
 * Upgrades on a real engine: in the end the new version runs, healthy, or the old one with its data as it was.
 */

let lab: Lab;
const old = { image: 'shop:1', status: 'running', schema: '1', hasRows: true, restart: 'unless-stopped', owed: [] };

beforeAll(async () => {
  lab = await openLab({ controller: { upgrade: quickUpgrades, agents: [] } });
  await makeImage(lab, 'shop:1', { run: serving(1) });
  await makeImage(lab, 'shop:2', { run: serving(2) });
  await makeImage(lab, 'shop:ends', { run: failing(3, 0.5) });
});
afterAll(async () => await lab.close());

describe('a real PostgreSQL', () => {
  const db = (image: string): string => `
services:
  db:
    image: ${image}
    restart: unless-stopped
    network_mode: none
    command: ["-c", "unix_socket_directories=/tmp"]
    volumes: ["data:/var/lib/postgresql/data"]
    healthcheck:
      test: ["CMD-SHELL", "/healthy"]
      interval: 500ms
      timeout: 2s
      retries: 4
      start_period: 3s
volumes: { data: {} }
`;
  const ask = async (sql: string): Promise<string> =>
    (await lab.engine.docker('exec', 'pg-db-1', 'psql', '-h', '127.0.0.1', '-U', 'postgres', '-qAtc', sql)).trim();
  const reached = async (sql: string): Promise<boolean> => {
    const said = await lab.engine.tryDocker(
      'exec',
      'pg-db-1',
      'psql',
      '-h',
      '127.0.0.1',
      '-U',
      'postgres',
      '-qAtc',
      sql,
    );
    return said.code === 0 && said.stdout.trim() !== '';
  };
  const migrating = (sql: string): string => `#!/bin/sh
/usr/local/bin/postgres-entrypoint "$@" &
trap 'kill -INT $!; wait $!; exit 0' INT TERM
until psql -h 127.0.0.1 -U postgres -qc 'select 1' >/dev/null 2>&1; do sleep 0.1; done
psql -h 127.0.0.1 -U postgres -qc "${sql}"
wait $!
`;
  const isReady = '#!/bin/sh\nexec pg_isready -q -h 127.0.0.1 -U postgres\n';
  const isNeverReady = '#!/bin/sh\n[ -e /run/never ]\n';

  beforeAll(async () => {
    const from = 'felhom/postgres:test';
    await makeImage(lab, 'pg:1', { from, files: { healthy: isReady } });
    const forward = 'alter table rows rename to orders; delete from orders where n > 1; create table migrated (n int)';
    await makeImage(lab, 'pg:2-bad', { from, run: migrating(forward), files: { healthy: isNeverReady } });
    await makeImage(lab, 'pg:2', {
      from,
      run: migrating('alter table rows add note text'),
      files: { healthy: isReady },
    });
    // Not by --wait: making the database anew may take longer than its health check allows.
    await lab.addStack('pg', db('pg:1'), {}, { wait: false });
    const health = ['inspect', '--format', '{{.State.Health.Status}}', 'pg-db-1'];
    await waitUntil('it is healthy', async () => (await lab.engine.docker(...health)).trim() === 'healthy');
    await ask('create table rows (n bigint primary key); insert into rows select generate_series(1, 5000)');
    await lab.inGuest(['upgrade', 'plan', 'pg', '--no-pull']);
  });

  it('is rolled back with the old data, every row, when its new image migrates forward and is not healthy then', async () => {
    const compose = join(lab.guest, 'srv/pg/compose.yaml');
    await writeFile(compose, db('pg:2-bad'));
    const migrated = waitUntil(
      'the new image has migrated',
      async () => await reached("select to_regclass('migrated')"),
      {
        boundMs: 60_000,
      },
    );
    const { code, result } = await upgradeTo(lab, 'pg');
    await migrated;
    expect(result).toMatchObject({ outcome: 'rolled_back', error: { code: 'rolled_back' } });
    expect(code).toBe(3);
    expect(await ask('select count(*), max(n) from rows')).toBe('5000|5000');
    expect(await ask("select to_regclass('migrated') is null and to_regclass('orders') is null")).toBe('t');
    expect(await readFile(compose, 'utf8')).toBe(db('pg:1'));
    const alerts = await readdir(join(lab.guest, 'var/lib/felhom/alerts'));
    const alert = JSON.parse(await readFile(join(lab.guest, 'var/lib/felhom/alerts', alerts[0] ?? ''), 'utf8'));
    expect(alert.value).toMatchObject({ stack: 'pg', attempted: 'db=pg:2-bad', last_good: 'db=pg:1', recovered: true });
  });

  it('is held back then, until a person allows it', async () => {
    await writeFile(join(lab.guest, 'srv/pg/compose.yaml'), db('pg:2-bad'));
    const before = await lab.engine.docker('inspect', '--format', '{{.State.StartedAt}}', 'pg-db-1');
    const { code, result } = await upgradeTo(lab, 'pg');
    expect(result).toMatchObject({ outcome: 'failed', error: { code: 'held_back' } });
    expect(code).toBe(13);
    expect(await lab.engine.docker('inspect', '--format', '{{.State.StartedAt}}', 'pg-db-1')).toBe(before);
    expect((await lab.inGuest(['upgrade', 'allow', 'pg'])).stdout).toContain('1 target(s) may be tried again');
    expect((await lab.inGuest(['upgrade', 'plan', 'pg', '--no-pull'])).stdout).not.toContain('held back');
  });

  it('is rolled back by the guard, with every row, when kill -9 ends the upgrade after the migration', async () => {
    const before = await ask('select count(*), max(n) from rows');
    const controller = await upgradeToStep(lab, 'pg', 'verifying');
    await waitUntil('the new image has migrated', async () => await reached("select to_regclass('migrated')"));
    controller.child.kill('SIGKILL');
    await controller.ended;
    expect(await debtFiles(lab)).not.toEqual([]);
    await waitUntil('nothing is owed', async () => (await debtFiles(lab)).length === 0, { boundMs: 60_000 });
    expect(await ask('select count(*), max(n) from rows')).toBe(before);
    expect(await ask("select to_regclass('migrated') is null and to_regclass('orders') is null")).toBe('t');
  });

  it('becomes a healthy new version, with every row', async () => {
    await writeFile(join(lab.guest, 'srv/pg/compose.yaml'), db('pg:2'));
    const { code, result } = await upgradeTo(lab, 'pg');
    expect(result).toMatchObject({ outcome: 'success', error: null });
    expect(result.rungs.map(({ name, result: rung }) => `${name} ${rung}`)).toEqual([
      'containers passed',
      'health passed',
      'probe skipped',
      'stable passed',
      'disk passed',
    ]);
    expect(code).toBe(0);
    expect(await ask('select count(*), count(note) from rows')).toBe('5000|0');
  });

  it('goes back all the same where a person says so, to the data as it was', async () => {
    await ask('insert into rows values (9999)');
    const end = await lab.inGuest(['upgrade', 'rollback', 'pg', '--json']);
    const result: UpgradeResult = JSON.parse(end.stdout);
    expect(result).toMatchObject({ outcome: 'rolled_back', error: null });
    expect(await ask('select count(*), max(n) from rows')).toBe('5000|5000');
    // What was written since is not lost: it is a snapshot, and not the one that counts as good.
    const { stacks } = JSON.parse((await lab.inGuest(['snapshot', 'list', 'pg', '--json'])).stdout);
    expect(stacks[0].snapshots).toContainEqual(
      expect.objectContaining({ id: result.since_snapshot, last_good: false, sealed: true }),
    );
    const restored = ['snapshot', 'restore', 'pg', result.since_snapshot ?? ''];
    await lab.engine.docker('compose', '-p', 'pg', 'stop');
    expect((await lab.inGuest(restored)).code).toBe(0);
    await lab.engine.docker('start', 'pg-db-1');
    await waitUntil('the database answers', async () => await reached('select 1'));
    expect(await ask('select count(*), max(n) from rows')).toBe('5001|9999');
  });
});

describe('an image that', () => {
  it.each([
    ['ends at once', 'shop:ends', async () => undefined, ''],
    [
      'is healthy, and ends after 20 seconds',
      'shop:ends-late',
      async () => void (await makeImage(lab, 'shop:ends-late', { run: failing(3, 20) })),
      // What may take its time to start is watched for longer.
      '    healthcheck: { test: ["CMD", "true"], interval: 1s, start_period: 25s }\n',
    ],
    [
      'cannot be started',
      'shop:no-such-program',
      async () => {
        await makeImage(lab, 'shop:base', { run: serving(9) });
        await lab.engine.docker('create', '--name', 'half', '--entrypoint', '/no/such/program', 'shop:base');
        await lab.engine.docker('commit', 'half', 'shop:no-such-program');
        await lab.engine.docker('rm', 'half');
      },
      '',
    ],
    [
      'ends, with the old tag pruned meanwhile',
      'shop:ends',
      async () => void (await lab.engine.docker('rmi', '--force', 'shop:1')),
      '',
    ],
  ])('%s: the old version runs, with its data', async (title, image, arrange, extra) => {
    const name = title.replaceAll(/\W+/g, '-').toLowerCase();
    await makeImage(lab, 'shop:1', { run: serving(1) });
    await addShop(lab, name, 'shop:1');
    await arrange();
    await editShop(lab, name, image, extra);
    const { code, result } = await upgradeTo(lab, name);
    expect(result).toMatchObject({ outcome: 'rolled_back' });
    expect(code).toBe(3);
    expect(await standingOf(lab, name)).toEqual(old);
    await lab.engine.docker('compose', '-p', name, 'down', '--timeout', '1');
  });

  it('does not exist: nothing is stopped', async () => {
    await makeImage(lab, 'shop:1', { run: serving(1) });
    await addShop(lab, 'missing', 'shop:1');
    const before = await lab.engine.docker('inspect', '--format', '{{.State.StartedAt}}', 'missing-app-1');
    await editShop(lab, 'missing', 'shop.invalid/shop:none');
    const { code, result } = await upgradeTo(lab, 'missing');
    expect(result).toMatchObject({ outcome: 'failed', error: { code: 'image_unavailable' } });
    expect(code).toBe(3);
    expect(await lab.engine.docker('inspect', '--format', '{{.State.StartedAt}}', 'missing-app-1')).toBe(before);
  });
});

describe('an image that fills the disk of its data', () => {
  const place = (): string => join(lab.guest, 'srv/full');

  beforeAll(async () => {
    await mkdir(place(), { recursive: true });
    await must('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', place()]);
    const file = join(lab.guest, 'etc/felhom/controller.yaml');
    const config: Record<string, unknown> = parse(await readFile(file, 'utf8'));
    // Another file system than the guest's is only kept where it is named.
    const stacks = { full: { snapshot: { include: [join(place(), 'data')] } } };
    await writeFile(file, stringify({ ...config, stacks }));
    await makeImage(lab, 'shop:fills', { run: `cat /dev/zero >/data/fill\n${serving(4)}` });
  });
  afterAll(async () => {
    await lab.engine.tryDocker('compose', '-p', 'full', 'down', '--timeout', '1');
    await must('umount', ['--lazy', place()]);
  });

  it('is rolled back all the same: room for the way back was set aside', async () => {
    await makeImage(lab, 'shop:1', { run: serving(1) });
    await addShop(lab, 'full', 'shop:1');
    await writeFile(join(place(), 'data/large'), Buffer.alloc(6 * 2 ** 20, 'x'));
    await editShop(lab, 'full', 'shop:fills');
    const { result } = await upgradeTo(lab, 'full');
    expect(result).toMatchObject({ outcome: 'rolled_back' });
    expect(result.error?.message).toContain('no room is left');
    expect(await standingOf(lab, 'full')).toEqual(old);
    expect((await readdir(join(place(), 'data'))).toSorted()).toEqual(['large', 'made-fresh-by-1', 'rows', 'schema']);
    expect((await readdir(place())).filter((name) => name.startsWith('.felhom'))).toEqual([]);
  });
});

describe('what is in the way', () => {
  it('is told before anything stops, all at once; --force goes past what is soft', async () => {
    await makeImage(lab, 'shop:1', { run: serving(1) });
    await addShop(lab, 'gated', 'shop:1');
    await editShop(lab, 'gated', 'shop:2', '    labels: { felhom.upgrade: blocked }\n');
    const { code, result } = await upgradeTo(lab, 'gated', ['--force']);
    expect(result.error?.message).toContain('felhom.upgrade=blocked');
    expect(code).toBe(13);
    expect(await standingOf(lab, 'gated')).toEqual(old);
  });
});
