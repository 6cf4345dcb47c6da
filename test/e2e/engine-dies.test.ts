import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { backUp } from '../lab/backup.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import type { Background } from '../lab/process.ts';
import { pairWithoutRestart } from '../lab/stacks.ts';
import { standingWithin } from '../lab/standing.ts';
import { debtFiles, runToHangingSnapshot, waitUntilNoJob, waitUntilNoRecovery } from '../lab/steps.ts';
import { waitUntil } from '../lab/wait-until.ts';

/*
 * kill -9 for the docker engine in the middle of a quiesce, and for engine and controller at once. The engine is started
 * again as its service would be; nothing of ours is called by the test. Containers do not come back by themselves: their
 * restart policy is "no", and an engine that was killed ends what it finds still running when it starts again.
 */

const apps = ['shop-app-1', 'shop-db-1'];
let lab: Lab;

beforeAll(async () => {
  lab = await openLab({
    controller: { bounds: { max_quiesce: '6s', hung_holder: '30s', pay_backoff_limit: '500ms', stop_margin: '2s' } },
    agentBounds: { claim: '8s', lease: '8s', hold_max: '20s', resume_hold: '1s' },
  });
  await lab.addStack('shop', pairWithoutRestart);
});
afterAll(async () => await lab.close());
afterEach(async () => {
  await lab.clearFaults();
  await waitUntilNoJob(lab);
  await waitUntilNoRecovery(lab);
});

const allIsWell = { running: apps, owed: [] };

/** The run's own end: it tells what it could not know, and does not call it a good backup. */
async function endOf(controller: Background): Promise<void> {
  const { code } = await controller.ended;
  expect([3, 5]).toContain(code);
}

describe('the engine killed with kill -9', () => {
  it('while the snapshot hangs, and away past the deadline: the run waits for it', async () => {
    const controller = await runToHangingSnapshot(lab, apps);
    await lab.engine.kill();
    await waitUntil('the run means to start the apps', () => controller.output().includes('starting'));
    await lab.engine.start();
    expect(await standingWithin(lab, apps, 30_000)).toEqual(allIsWell);
    await lab.clearFaults();
    await endOf(controller);
  });

  it('together with the controller while the apps are down: the guard waits for it', async () => {
    const controller = await runToHangingSnapshot(lab, apps);
    controller.child.kill('SIGKILL');
    await lab.engine.kill();
    await controller.ended;
    expect(await debtFiles(lab)).not.toEqual([]);
    await lab.engine.start();
    expect(await standingWithin(lab, apps, 30_000)).toEqual(allIsWell);
  });

  it('and a backup after all of this is as good as the first', async () => {
    expect((await backUp(lab)).result).toMatchObject({ outcome: 'done', grade: 'app-consistent', error: null });
  });
});
