import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Lab, openLab } from '../lab/lab.ts';
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
 * What a person meets of upgrades: every command on its own, a tag that moved, a timer, and a rollback for which there
 * is no way back.
 */

let lab: Lab;
const old = { image: 'shop:1', status: 'running', schema: '1', hasRows: true, restart: 'unless-stopped', owed: [] };

beforeAll(async () => {
  const stacks = { duty: { upgrade: { policy: 'auto' } } };
  lab = await openLab({ controller: { upgrade: quickUpgrades, agents: [], stacks } });
  await makeImage(lab, 'shop:1', { run: serving(1) });
  await makeImage(lab, 'shop:2', { run: serving(2) });
  await makeImage(lab, 'shop:ends', { run: failing(3, 0.5) });
});
afterAll(async () => await lab.close());

describe('an image that', () => {
  it('took over the tag: the old one is put back by its id, and stays until a person decides', async () => {
    await makeImage(lab, 'moved:latest', { run: serving(1) });
    const id = (await lab.engine.docker('image', 'inspect', '--format', '{{.Id}}', 'moved:latest')).trim();
    const spare = '  spare: { image: "shop:2", profiles: [spare], network_mode: none }\n';
    const folder = await addShop(lab, 'moved', 'moved:latest', { extra: spare });
    const compose = ['compose', '-p', 'moved', '-f', join(folder, 'compose.yaml'), '--profile', 'spare'];
    await lab.engine.docker(...compose, 'create', 'spare');
    await lab.engine.docker('tag', 'shop:ends', 'moved:latest');
    const { result } = await upgradeTo(lab, 'moved');
    expect(result).toMatchObject({ outcome: 'rolled_back' });
    expect(await standingOf(lab, 'moved')).toEqual({ ...old, image: id });
    // What was off is there again, and off.
    expect((await lab.engine.docker('inspect', '--format', '{{.State.Status}}', 'moved-spare-1')).trim()).toBe(
      'created',
    );
    expect((await upgradeTo(lab, 'moved')).result).toMatchObject({ error: { code: 'held_back' } });
  });
});

describe('a rollback whose snapshot is gone', () => {
  it('leaves the new version up with its own data, never the old one on that, and tells a person', async () => {
    const side = '  side: { image: "shop:1", network_mode: none, stop_grace_period: 1s, volumes: ["/opt:/outside"] }\n';
    await addShop(lab, 'scarred', 'shop:1', { extra: side });
    await editShop(lab, 'scarred', 'shop:ends', side);
    const run = await upgradeToStep(lab, 'scarred', 'kept');
    const snapshots = join(lab.guest, 'var/lib/felhom/snapshots/scarred');
    const [id = ''] = (await readdir(snapshots)).filter((name) => name !== 'last-good');
    await rm(join(snapshots, id, 'data'), { recursive: true });
    await waitUntil('the upgrade has ended', () => run.hasEnded(), { boundMs: 60_000 });
    // What would not come back is said before anything stops.
    expect(run.output()).toMatch(/scarred: not rolled back: \/opt .*\n(.*\n)*.* scarred: stopping\n/);
    expect(run.output()).toContain('NOT taken back: there is no way back, and the NEW version stays');
    const { image, status, schema, owed, restart } = await standingOf(lab, 'scarred');
    expect({ image, schema, owed, restart }).toEqual({
      image: 'shop:ends',
      schema: '3',
      owed: [],
      restart: 'unless-stopped',
    });
    expect(['running', 'restarting']).toContain(status);
    const check = await lab.inGuest(['status', '--check', '--json']);
    expect(check.code).toBe(6);
    expect(JSON.parse(check.stdout).attention.join(' ')).toContain('cannot be: snapshot');
    const back = await lab.inGuest(['upgrade', 'rollback', 'scarred']);
    expect(back.stderr).toContain('nothing was stopped');
    expect((await standingOf(lab, 'scarred')).image).toBe('shop:ends');
    await lab.engine.docker('compose', '-p', 'scarred', 'down', '--timeout', '1');
  });
});

describe('the commands, one by one', () => {
  const ask = async (...words: string[]) => {
    const { code, stdout } = await lab.inGuest([...words, '--json']);
    return { code, told: JSON.parse(stdout) };
  };
  const startedAt = async (): Promise<string> =>
    await lab.engine.docker('inspect', '--format', '{{.State.StartedAt}}', 'duty-app-1');

  it('stage and stop nothing; activate what was staged, and nothing else; climb the ladder; tell every rung', async () => {
    await addShop(lab, 'duty', 'shop:1');
    const before = await startedAt();
    await editShop(lab, 'duty', 'shop:ends');
    expect(await ask('upgrade', 'stage', 'duty')).toMatchObject({ code: 0, told: { outcome: 'staged' } });
    await editShop(lab, 'duty', 'shop:2');
    expect((await lab.inGuest(['upgrade', 'activate', 'duty'])).code).toBe(12);
    expect(await ask('upgrade', 'stage', 'duty')).toMatchObject({ code: 0, told: { outcome: 'staged' } });
    expect(await startedAt()).toBe(before);
    expect(await ask('upgrade', 'activate', 'duty')).toMatchObject({ code: 0, told: { outcome: 'success' } });
    expect(await standingOf(lab, 'duty')).toEqual({ ...old, image: 'shop:2', schema: '2' });
    // A name that was mistyped is not to look like one of which nothing is held back.
    expect((await lab.inGuest(['upgrade', 'allow', 'dutty'])).stderr).toContain('no Compose project "dutty"');
    expect((await ask('upgrade', 'allow', 'duty')).code).toBe(0);
    expect(await ask('upgrade', 'healthcheck', 'duty')).toMatchObject({ code: 0, told: { healthy: true } });
    const rungs = ['containers', 'health', 'probe', 'stable', 'disk'].map((name) => ({ name }));
    expect((await ask('upgrade', 'status', 'duty')).told.stacks).toMatchObject([{ phase: 'success', rungs }]);
    const { upgrades } = (await ask('status')).told;
    expect(upgrades).toContainEqual(expect.objectContaining({ stack: 'duty', rungs: expect.any(Array) }));
    expect(upgrades.find(({ stack }: { stack: string }) => stack === 'duty').rungs).toMatchObject(rungs);
  });

  it('a timer upgrades what is its own, and does not fail over and over for what a person was told of once', async () => {
    await editShop(lab, 'duty', 'shop:ends');
    const first = await ask('upgrade', 'apply', '--all', '--due');
    expect(first.code).toBe(3);
    const outcomes = first.told.upgrades.map(({ stack, outcome }: Record<string, string>) => `${stack} ${outcome}`);
    expect(outcomes.filter((each: string) => !each.endsWith(' skipped'))).toEqual(['duty rolled_back']);
    await editShop(lab, 'duty', 'shop:ends');
    const before = await startedAt();
    expect((await ask('upgrade', 'apply', '--all', '--due')).code).toBe(0);
    expect(await startedAt()).toBe(before);
  });
});
