import { join } from 'node:path';
import { glanceAtRuns, type RunGlance } from 'felhom-controller/state/run-glance.ts';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { backUp, waitUntilDown } from '../lab/backup.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import { pairWithoutRestart } from '../lab/stacks.ts';
import { mustStandWell, standingNow, standingWithin } from '../lab/standing.ts';
import { runSteps, runToStep, waitUntilNoJob, waitUntilNoRecovery } from '../lab/steps.ts';
import { openTerminal, type Terminal, waitUntilDrawn } from '../lab/terminal.ts';
import { waitUntil } from '../lab/wait-until.ts';

/*
 * The controller, at whatever step, loses whoever looked at it (SIGHUP, a terminal closed for real) or stops moving
 * (SIGSTOP): the cycle goes on, or the guard ends it; in no case does an app stay down. The test calls nothing of ours
 * after the blow. The containers' restart policy is "no", so that the engine starts none.
 */

const apps = ['shop-app-1', 'shop-db-1'];
const allIsWell = { running: apps, owed: [] };
const deadlineMs = 3_000;
const hungMs = 1_000;
const ctrlC = '\u0003';
let lab: Lab;

beforeAll(async () => {
  lab = await openLab({
    controller: { bounds: { max_quiesce: `${deadlineMs}ms`, hung_holder: `${hungMs}ms` } },
    agentBounds: { claim: '3s', lease: '3s', hold_max: '8s', resume_hold: '500ms' },
  });
  await lab.addStack('shop', pairWithoutRestart);
});
afterAll(async () => await lab.close());
afterEach(async () => {
  await lab.clearFaults();
  await waitUntilNoJob(lab);
  await waitUntilNoRecovery(lab);
  await mustStandWell(lab, apps);
});

const hasRunToItsEnd = async (terminal: Terminal): Promise<void> =>
  void (await waitUntil('the run is over', () => terminal.hasEnded()));

/** What the history says of the newest run that began after `sinceMs`. */
function runSince(sinceMs: number): RunGlance | undefined {
  const runs = glanceAtRuns(join(lab.guest, 'var/lib/felhom'), 5);
  return runs.find(({ started_at }) => Date.parse(started_at) >= sinceMs);
}

describe.each(runSteps)('at the step "%s"', (step) => {
  it('a closed terminal ends the display, never the cycle', async () => {
    const sinceMs = Date.now();
    const terminal = openTerminal(lab, ['backup', 'now']);
    await waitUntilDrawn(terminal, step);
    await terminal.close();
    await hasRunToItsEnd(terminal);
    expect(await standingNow(lab)).toEqual(allIsWell);
    expect(runSince(sinceMs)).toMatchObject({ outcome: 'done', grade: 'app-consistent' });
  });

  it('SIGHUP ends the display, never the cycle', async () => {
    const controller = await runToStep(lab, step);
    controller.child.kill('SIGHUP');
    const { code } = await controller.ended;
    expect(await standingNow(lab)).toEqual(allIsWell);
    expect(code).toBe(0);
  });

  it('SIGSTOP costs the deadline and its margin at most', async () => {
    const controller = await runToStep(lab, step);
    controller.child.kill('SIGSTOP');
    try {
      expect(await standingWithin(lab, apps, deadlineMs + hungMs + 10_000)).toEqual(allIsWell);
    } finally {
      // Where nothing was down there was nothing to recover, and it hangs on.
      controller.child.kill('SIGKILL');
      await controller.ended;
    }
  });
});

describe('Ctrl-C at a terminal', () => {
  const byKeyboard: unknown = expect.stringContaining('interrupted from the keyboard');
  const interrupt = async (step: (typeof runSteps)[number]): Promise<ReturnType<typeof runSince>> => {
    const sinceMs = Date.now();
    const terminal = openTerminal(lab, ['backup', 'now']);
    await waitUntilDrawn(terminal, step);
    terminal.type(ctrlC);
    terminal.type(ctrlC);
    await hasRunToItsEnd(terminal);
    expect(await standingNow(lab)).toEqual(allIsWell);
    await terminal.close();
    return runSince(sinceMs);
  };

  it('before the apps are down cancels the backup', async () => {
    const archives = (await lab.archives()).length;
    expect(await interrupt('ready')).toMatchObject({ outcome: 'aborted', message: byKeyboard });
    await waitUntilNoJob(lab);
    expect((await lab.archives()).length).toBe(archives);
  });

  it('with the apps down brings them back first, however often it comes', async () => {
    await lab.order({ fault: 'freeze_hangs' });
    expect(await interrupt('quiesced')).toMatchObject({
      outcome: 'running',
      grade: 'crash-consistent',
      message: byKeyboard,
    });
  });
});

describe('while the snapshot hangs on the host', () => {
  it('a closed terminal ends the display, and the apps come back at the deadline', async () => {
    const sinceMs = Date.now();
    await lab.order({ fault: 'freeze_hangs' });
    const terminal = openTerminal(lab, ['backup', 'now']);
    await waitUntilDown(lab, apps);
    await terminal.close();
    expect(await standingWithin(lab, apps, deadlineMs + 10_000)).toEqual(allIsWell);
    await lab.clearFaults();
    await hasRunToItsEnd(terminal);
    expect(runSince(sinceMs)).not.toMatchObject({ grade: 'app-consistent' });
  });
});

describe('after all of this', () => {
  it('a backup is as good as the first', async () => {
    await waitUntil('nothing of the last run is left', async () =>
      (await lab.inGuest(['recover'])).stdout.includes('nothing is owed'),
    );
    expect((await backUp(lab)).result).toMatchObject({ outcome: 'done', grade: 'app-consistent', error: null });
  });
});
