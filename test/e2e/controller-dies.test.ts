import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { backUp, startTimes } from '../lab/backup.ts';
import { isRoot } from '../lab/disk.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import { must } from '../lab/process.ts';
import { pairWithoutRestart } from '../lab/stacks.ts';
import { mustStandWell, standingNow, standingWithin } from '../lab/standing.ts';
import {
  debtFiles,
  runSteps,
  runToHangingSnapshot,
  runToStep,
  waitUntilNoJob,
  waitUntilNoRecovery,
} from '../lab/steps.ts';
import { waitUntil } from '../lab/wait-until.ts';

/*
 * kill -9 and SIGTERM for the controller, at whatever step: what ran runs again within the bounds of its configuration
 * (lowered here), and nothing is owed. The test calls nothing of ours after the blow: the guard does it. The containers'
 * restart policy is "no", so that the engine does not. What hangs up or stops it is in controller-hung-up.test.ts.
 */

const apps = ['shop-app-1', 'shop-db-1'];
const sbin = { env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` } };
let lab: Lab;

beforeAll(async () => {
  lab = await openLab({
    controller: { bounds: { max_quiesce: '3s', hung_holder: '1s' } },
    // Where nobody is left to say that the apps run again, the archive is not kept waiting for long.
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

const allIsWell = { running: apps, owed: [] };

describe.each(runSteps)('at the step "%s"', (step) => {
  it('kill -9 leaves nothing down', async () => {
    const controller = await runToStep(lab, step);
    controller.child.kill('SIGKILL');
    await controller.ended;
    expect(await standingWithin(lab, apps, 10_000)).toEqual(allIsWell);
  });

  it('SIGTERM brings the apps back before it ends', async () => {
    const controller = await runToStep(lab, step);
    controller.child.kill('SIGTERM');
    const { code } = await controller.ended;
    expect(await standingNow(lab)).toEqual(allIsWell);
    // From the quiesced apps on the host's job goes on; where it was over as soon as the apps were back, it says so.
    const wentOn = ['stopped', 'quiesced', 'snapshotted', 'starting', 'running'].includes(step);
    expect(wentOn ? [0, 5, 143] : [143]).toContain(code);
  });
});

describe.skipIf(!isRoot())(
  'while its marker is being written (held up by a frozen file system, which needs root)',
  () => {
    const debts = (): string => join(lab.guest, 'var/lib/felhom/debts');
    let before: Record<string, string>;
    let frozen = false;
    const freeze = async (): Promise<void> => {
      await must('fsfreeze', ['--freeze', debts()], sbin);
      frozen = true;
    };
    const thaw = async (): Promise<void> => {
      if (frozen) await must('fsfreeze', ['--unfreeze', debts()], sbin);
      frozen = false;
    };
    beforeAll(async () => {
      const image = join(lab.folder, 'debts.img');
      await mkdir(debts(), { recursive: true });
      await must('truncate', ['--size', '200M', image]);
      await must('mkfs.btrfs', ['--quiet', image], sbin);
      await must('mount', ['-o', 'loop', image, debts()]);
    });
    afterAll(async () => await must('umount', [debts()]));
    beforeEach(async () => {
      before = await startTimes(lab);
      await freeze();
    });
    afterEach(thaw);

    it.each(['SIGKILL', 'SIGTERM', 'SIGHUP'] as const)('%s stops nothing and leaves nothing owed', async (signal) => {
      const controller = await runToStep(lab, 'ready');
      await waitUntil('it waits for the disk', async () => await isHeldUp(controller.pid));
      expect(await startTimes(lab)).toEqual(before);
      controller.child.kill(signal);
      await thaw();
      const { code } = await controller.ended;
      expect(await standingWithin(lab, apps, 10_000)).toEqual(allIsWell);
      if (signal !== 'SIGKILL') expect(code).toBe(signal === 'SIGTERM' ? 143 : 0);
    });
  },
);

/** Whether a thread of the process waits for a disk (proc_pid_stat(5), state D). */
async function isHeldUp(pid: number): Promise<boolean> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []); // It is over.
  const states = await Promise.all(
    threads.map(async (thread) => await readFile(`/proc/${pid}/task/${thread}/stat`, 'utf8').catch(() => '')),
  );
  return states.some((text) => text.slice(text.lastIndexOf(')') + 2).startsWith('D'));
}

describe('while the snapshot hangs on the host', () => {
  it('kill -9 leaves nothing down: the guard does not wait for the host', async () => {
    const controller = await runToHangingSnapshot(lab, apps);
    expect(await debtFiles(lab)).not.toEqual([]);
    controller.child.kill('SIGKILL');
    expect(await standingWithin(lab, apps, 10_000)).toEqual(allIsWell);
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
