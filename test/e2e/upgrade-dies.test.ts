import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findProcesses } from '../lab/find-processes.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import { type LoneShop, type LoneStanding, openLoneShop, standingWithin } from '../lab/lone-shop.ts';
import { type Background, startInBackground } from '../lab/process.ts';
import { runToHangingSnapshot, waitUntilNoJob } from '../lab/steps.ts';
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
  waitUntilStep,
} from '../lab/upgrades.ts';
import { waitUntil } from '../lab/wait-until.ts';

/*
 * Whatever ends the controller or the engine in the middle of an upgrade, at whatever step, and whoever else wants the
 * stack meanwhile: one version whole, with its data, and nothing owed. After a blow the test calls nothing of ours: the
 * guard settles it, the controller that lives, or a pass of reconcile.
 */

let lab: Lab;
let registry: Background;

/** Where the engine finds a registry that takes calls and never answers: a download that lasts. */
const deafRegistry = '127.0.0.1:5000';

beforeAll(async () => {
  const stacks = { busy: { state: 'running' }, saved: { state: 'running' } };
  const bounds = { pay_backoff: '100ms', pay_backoff_limit: '500ms', max_quiesce: '6s', hung_holder: '1s' };
  lab = await openLab({
    controller: { upgrade: quickUpgrades, bounds, stacks },
    agentBounds: { claim: '3s', lease: '3s', hold_max: '8s' },
  });
  await makeImage(lab, 'shop:1', { run: serving(1) });
  await makeImage(lab, 'shop:2', { run: serving(2) });
  await makeImage(lab, 'shop:ends', { run: failing(3, 0.3) });
  registry = await startDeafRegistry();
});
afterAll(async () => {
  await registry.stop();
  await lab.close();
});

const up = { status: 'running', hasRows: true, restart: 'unless-stopped', owed: [] };
const runsOld = { ...up, image: 'shop:1', schema: '1' };
const runsNew = { ...up, image: 'shop:2', schema: '2' };
const isOld: LoneStanding = { ...runsOld, madeFresh: [], containers: 1 };
const isNew: LoneStanding = { ...runsNew, madeFresh: [], containers: 1 };

describe('while an upgrade is under way', () => {
  const startOf = async (name: string): Promise<string> =>
    await lab.engine.docker('inspect', '--format', '{{.State.StartedAt}}', `${name}-app-1`);

  it('a backup, another upgrade and a pass of reconcile are told so, and touch nothing; it goes on to its end', async () => {
    for (const name of ['busy', 'saved']) {
      await addShop(lab, name, 'shop:1');
      await editShop(lab, name, 'shop:2');
    }
    const controller = await upgradeToStep(lab, 'busy', 'stopped');
    controller.child.kill('SIGSTOP');
    const before = await startOf('saved');
    const ends = await Promise.all([
      lab.inGuest(['backup', 'now']),
      lab.inGuest(['upgrade', 'apply', 'saved']),
      lab.inGuest(['reconcile', '--once']),
    ]);
    expect(ends.map(({ code }) => code)).toEqual([11, 11, 11]);
    for (const { stderr } of ends) expect(stderr).toMatch(/nothing was stopped|nothing else was touched/);
    expect(await standingOf(lab, 'busy')).toMatchObject({ image: 'shop:1', status: 'exited' });
    expect(await startOf('saved')).toBe(before);
    controller.child.kill('SIGCONT');
    expect((await controller.ended).code).toBe(0);
    expect(await standingOf(lab, 'busy')).toEqual(runsNew);
  });

  it('and dies together with its guard, a pass of reconcile settles it before it starts anything', async () => {
    await editShop(lab, 'busy', 'shop:ends');
    const controller = await upgradeToStep(lab, 'busy', 'stopping');
    // Only now: to a pass that has the run lock an upgrade would have to give way.
    const reconcile = lab.startInGuest('reconcile', ['reconcile', '--interval', '1s']);
    await waitUntilStep(controller, 'busy', 'verifying');
    for (const pid of guards()) process.kill(pid, 'SIGKILL');
    controller.child.kill('SIGKILL');
    await controller.ended;
    await waitUntil('nothing is owed', async () => (await standingOf(lab, 'busy')).owed.length === 0);
    expect(await standingOf(lab, 'busy')).toEqual(runsNew);
    await reconcile.stop();
  });
});

/** The shells that wait for a controller of this lab to die. */
function guards(): number[] {
  return findProcesses((words) => words.includes('felhom-guard') && words.some((word) => word.startsWith(lab.guest)));
}

describe('while a backup is under way', () => {
  it('an upgrade and a pass of reconcile are told so, and start nothing; afterwards the upgrade is whole', async () => {
    const backup = await runToHangingSnapshot(lab, ['busy-app-1', 'saved-app-1']);
    const ends = await Promise.all([lab.inGuest(['upgrade', 'apply', 'saved']), lab.inGuest(['reconcile', '--once'])]);
    expect(ends.map(({ code }) => code)).toEqual([11, 11]);
    for (const { stderr } of ends) expect(stderr).toMatch(/nothing was stopped|nothing else was touched/);
    expect(await standingOf(lab, 'saved')).toMatchObject({ image: 'shop:1', status: 'exited' });
    await lab.clearFaults();
    expect((await backup.ended).code).toBe(0);
    expect(await standingOf(lab, 'saved')).toEqual(runsOld);
    await waitUntilNoJob(lab);
    expect((await upgradeTo(lab, 'saved')).result).toMatchObject({ outcome: 'success' });
    expect(await standingOf(lab, 'saved')).toEqual(runsNew);
  });
});

/** Every step of an upgrade from its first stop on, and the image that is upgraded to. */
const steps = [
  ['stopping', 'shop:2'],
  ['stopped', 'shop:2'],
  ['kept', 'shop:2'],
  ['activated', 'shop:2'],
  ['verifying', 'shop:2'],
  ['rolling back', 'shop:ends'],
  ['data restored', 'shop:ends'],
] as const;

async function shopFor(what: string, step: string, to: string): Promise<LoneShop> {
  return await openLoneShop(lab, `${what}-${step}`.replaceAll(' ', '-'), 'shop:1', to);
}

describe('kill -9 of the controller', () => {
  it.concurrent.each(steps)('at "%s" of an upgrade to %s: the guard makes one version whole', async (step, to) => {
    const shop = await shopFor('kill', step, to);
    const controller = await shop.upgradeTo(step);
    controller.child.kill('SIGKILL');
    await controller.ended;
    // On a crowded machine the blow may come a step late: what lay on the disk says what has to become of it.
    const phase = await shop.owedPhase();
    const either = to === 'shop:2' ? [isOld, isNew] : [isOld];
    const becomes = phase === null ? either : [phase === 'verifying' && to === 'shop:2' ? isNew : isOld];
    expect(becomes).toContainEqual(await standingWithin(shop, becomes, 60_000));
  });

  it.concurrent.each([
    ['checking', 'shop:2', isOld],
    ['downloading', `${deafRegistry}/shop:2`, isOld],
    ['staged', 'shop:2', isOld],
    ['success', 'shop:2', isNew],
  ])('in the phase "%s" of an upgrade to %s: the version that it had come to stays', async (phase, to, wanted) => {
    const shop = await shopFor('phase', phase, to);
    const controller = await shop.upgradeToPhase(phase);
    controller.child.kill('SIGKILL');
    await controller.ended;
    expect(await standingWithin(shop, [wanted], 60_000)).toEqual(wanted);
  });
});

describe('Ctrl-C', () => {
  it.concurrent('takes an upgrade back that is being verified', async () => {
    const shop = await shopFor('ctrl-c', 'verifying', 'shop:2');
    const controller = await shop.upgradeTo('verifying');
    controller.child.kill('SIGINT');
    expect((await controller.ended).code).toBe(130);
    expect(await shop.standing()).toEqual(isOld);
  });
});

describe('the engine restarts', () => {
  it('at every step at once, and is away while they go on: each stack is one version, whole', async () => {
    const shops = await Promise.all(steps.map(async ([step, to]) => await shopFor('engine', step, to)));
    const orphan = await shopFor('orphan', 'activated', 'shop:2');
    const held = await Promise.all(steps.map(async ([step], at) => await heldAt(shops[at], step)));
    const killed = await heldAt(orphan, 'activated');
    await lab.engine.stop();
    for (const controller of held) controller.child.kill('SIGCONT');
    killed.child.kill('SIGKILL');
    await lab.engine.start();
    const found = await Promise.all(shops.map(async (shop) => await standingWithin(shop, [isOld, isNew], 60_000)));
    // What is healthy is kept where docker answers again in time, and taken back where it does not.
    for (const [at, [, to]] of steps.entries())
      expect(to === 'shop:2' ? [isOld, isNew] : [isOld]).toContainEqual(found[at]);
    expect([isOld, isNew]).toContainEqual(await standingWithin(orphan, [isOld, isNew], 60_000));
    await Promise.all(held.map(async ({ ended }) => await ended));
  });
});

/** Frozen as soon as it tells the step. */
async function heldAt(shop: LoneShop | undefined, step: string): Promise<Background> {
  if (shop === undefined) throw new Error(`there is no stack for the step ${step}`);
  const controller = await shop.upgradeTo(step);
  controller.child.kill('SIGSTOP');
  return controller;
}

/** In the network of the lab's engine. */
async function startDeafRegistry(): Promise<Background> {
  const pid = (await readFile(join(lab.folder, 'engine/docker.pid'), 'utf8')).trim();
  const [address, port] = deafRegistry.split(':');
  const script = `require('net').createServer(() => {}).listen(${port}, '${address}', () => console.log('listening'))`;
  const started = startInBackground('nsenter', [`--net=/proc/${pid}/ns/net`, process.execPath, '--eval', script], {
    logFile: join(lab.folder, 'logs/registry.log'),
  });
  await waitUntil('the registry listens', () => started.output().includes('listening'));
  return started;
}
