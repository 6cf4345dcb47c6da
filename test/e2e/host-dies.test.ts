import { existsSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { backUp, runningContainers } from '../lab/backup.ts';
import { findProcesses } from '../lab/find-processes.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import { plainService } from '../lab/stacks.ts';
import { debtFiles, runToHangingSnapshot, runToStep, waitUntilNoJob } from '../lab/steps.ts';
import { waitUntil } from '../lab/wait-until.ts';

/*
 * kill -9 for the agent and for the hook, at every phase. Started again as its service would be, the agent takes its
 * jobs up; a killed hook fails its guest's backup at most. In no case does an app stay down.
 */

const apps = ['shop-app-1'];
let lab: Lab;

beforeAll(async () => {
  lab = await openLab({
    controller: { bounds: { max_quiesce: '12s', hung_holder: '1s', no_task: '3s' } },
    agentBounds: { claim: '8s', lease: '8s', hold_max: '20s', lost_start: '2s', notes_retry: '1s' },
  });
  await lab.addStack('shop', plainService('app').replace('unless-stopped', '"no"'));
});
afterAll(async () => await lab.close());
afterEach(async () => {
  await lab.clearFaults();
  await waitUntilNoJob(lab);
});

/** What runs and what is owed, once the run is over. */
async function standing(): Promise<{ running: string[]; owed: string[] }> {
  return { running: await runningContainers(lab), owed: await debtFiles(lab) };
}
const allIsWell = { running: apps, owed: [] };

describe('the agent killed with kill -9', () => {
  const killAndRestart = async (): Promise<void> => {
    lab.agent().child.kill('SIGKILL');
    await lab.agent().ended;
    await lab.startAgent();
  };

  it.each(['requested', 'ready', 'stopped', 'quiesced', 'snapshotted', 'running'] as const)(
    'when the run says "%s"',
    async (step) => {
      const controller = await runToStep(lab, step);
      await killAndRestart();
      await controller.ended;
      expect(await standing()).toEqual(allIsWell);
      await waitUntilNoJob(lab);
      expect((await backUp(lab)).result).toMatchObject({ outcome: 'done', grade: 'app-consistent' });
    },
  );

  it('while the hook waits for the apps: the hook finds its way back, and the backup is as good as any', async () => {
    const controller = await runToStep(lab, 'ready');
    expect(await waitingHooks()).toHaveLength(1);
    await killAndRestart();
    await controller.ended;
    expect(await standing()).toEqual(allIsWell);
    expect(controller.output()).toContain('guest 101 docker1: app-consistent backup on bk');
  });

  it('and never started again: the apps come back at the deadline', async () => {
    const controller = await runToHangingSnapshot(lab, apps);
    lab.agent().child.kill('SIGKILL');
    await waitUntil('the app runs', async () => (await runningContainers(lab)).length === 1, { boundMs: 25_000 });
    await lab.clearFaults();
    await lab.startAgent();
    await controller.ended;
    expect(await standing()).toEqual(allIsWell);
  });
});

/** Hooks of this lab that are in a phase. */
async function waitingHooks(phase = 'pre-stop'): Promise<number[]> {
  return await findProcesses(
    (words) => words.includes(phase) && words.some((word) => word === join(lab.folder, 'host/agent.sock')),
  );
}

describe('the hook killed with kill -9', () => {
  it('while it waits for the apps: the backup fails, and they are back', async () => {
    const controller = await runToStep(lab, 'stopping');
    const [hook] = await waitingHooks();
    process.kill(hook ?? 0, 'SIGKILL');
    const { code } = await controller.ended;
    expect(await standing()).toEqual(allIsWell);
    expect(code).toBe(3);
  });

  describe.each([
    'job-init',
    'job-start',
    'backup-start',
    'pre-stop',
    'pre-restart',
    'post-restart',
    'backup-end',
    'log-end',
    'job-end',
  ])('before it could say %s', (phase) => {
    beforeEach(async () => await dieIn(phase));
    afterEach(async () => await dieIn('no phase'));

    it('leaves nothing down and nothing owed', async () => {
      const { result } = await backUp(lab);
      expect(await standing()).toEqual(allIsWell);
      await waitUntilNoJob(lab);
      expect(result.owed).toEqual([]);
      // What was captured without the agent's knowledge is never called more than it was seen to be.
      if (result.outcome !== 'done') expect(result.error).not.toBeNull();
    });
  });

  it('and the next backup is as good as the first', async () => {
    await dieIn('no phase');
    expect((await backUp(lab)).result).toMatchObject({ outcome: 'done', grade: 'app-consistent', error: null });
  });
});

/** Puts a hook in place of ours that dies in `phase` and is ours in every other. */
async function dieIn(phase: string): Promise<void> {
  const host = join(lab.folder, 'host');
  const hook = join(host, 'felhom-vzdump-hook');
  const real = join(host, 'real');
  if (!existsSync(real)) {
    await mkdir(real);
    for (const name of ['felhom-vzdump-hook', 'hook.conf']) await rename(join(host, name), join(real, name));
  }
  const script = `#!/bin/sh\n[ "$1" = "${phase}" ] && kill -KILL $$\nexec ${real}/felhom-vzdump-hook "$@"\n`;
  await writeFile(hook, script, { mode: 0o755 });
}
