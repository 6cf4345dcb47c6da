import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { backUp, runningContainers, startTimes, waitUntilDown } from '../lab/backup.ts';
import { isRoot } from '../lab/disk.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import { must } from '../lab/process.ts';
import { controllerProgram } from '../lab/programs.ts';
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
 * Whatever ends the controller, at whatever step: what ran runs again within the bounds of its configuration (lowered
 * here), and nothing is owed. The test calls nothing of ours after the blow: the guard does it. The containers' restart
 * policy is "no", so that the engine does not.
 */

const apps = ['shop-app-1', 'shop-db-1'];
const sbin = { env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` } };
const deadlineMs = 3_000;
const hungMs = 1_000;
let lab: Lab;

beforeAll(async () => {
  lab = await openLab({
    controller: { bounds: { max_quiesce: `${deadlineMs}ms`, hung_holder: `${hungMs}ms` } },
    agentBounds: { claim: '3s', lease: '3s', hold_max: '8s' },
  });
  await lab.addStack('shop', shop);
});
afterAll(async () => await lab.close());
afterEach(async () => {
  await lab.clearFaults();
  await waitUntilNoJob(lab);
  await waitUntilNoRecovery(lab);
});

interface Standing {
  running: string[];
  owed: string[];
}
const allIsWell: Standing = { running: apps, owed: [] };

/** How things stand once all is well, or when `boundMs` are over. */
async function standingWithin(boundMs: number): Promise<Standing> {
  const look = async (): Promise<Standing> => ({ running: await runningContainers(lab), owed: await debtFiles(lab) });
  const end = performance.now() + boundMs;
  for (;;) {
    const standing = await look();
    const isWell = standing.running.length === apps.length && standing.owed.length === 0;
    if (isWell || performance.now() > end) return standing;
  }
}

describe.each(runSteps)('at the step "%s"', (step) => {
  it('kill -9 leaves nothing down', async () => {
    const controller = await runToStep(lab, step);
    controller.child.kill('SIGKILL');
    await controller.ended;
    expect(await standingWithin(10_000)).toEqual(allIsWell);
  });

  it('SIGTERM brings the apps back before it ends', async () => {
    const controller = await runToStep(lab, step);
    controller.child.kill('SIGTERM');
    const { code } = await controller.ended;
    expect(await runningContainers(lab)).toEqual(apps);
    expect(await debtFiles(lab)).toEqual([]);
    // From the quiesced apps on the host's job goes on; where it was over as soon as the apps were back, it says so.
    const wentOn = ['stopped', 'quiesced', 'snapshotted', 'starting', 'running'].includes(step);
    expect(wentOn ? [0, 5, 143] : [143]).toContain(code);
  });

  it('SIGHUP ends the display, never the cycle', async () => {
    const controller = await runToStep(lab, step);
    controller.child.kill('SIGHUP');
    const { code } = await controller.ended;
    expect(await runningContainers(lab)).toEqual(apps);
    expect(await debtFiles(lab)).toEqual([]);
    expect(code).toBe(0);
  });

  it('SIGSTOP costs the deadline and its margin at most', async () => {
    const controller = await runToStep(lab, step);
    controller.child.kill('SIGSTOP');
    try {
      expect(await standingWithin(deadlineMs + hungMs + 10_000)).toEqual(allIsWell);
    } finally {
      // Where nothing was down there was nothing to recover, and it hangs on.
      controller.child.kill('SIGKILL');
      await controller.ended;
    }
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
      expect(await standingWithin(10_000)).toEqual(allIsWell);
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
    expect(await standingWithin(10_000)).toEqual(allIsWell);
  });

  it('a closed terminal ends the display, and the apps come back', async () => {
    await lab.order({ fault: 'freeze_hangs' });
    const command = `${controllerProgram} backup now --config ${lab.guest}/etc/felhom/controller.yaml`;
    const terminal = spawn('script', ['--quiet', '--command', command, '/dev/null'], {
      env: lab.guestEnvironment(),
      stdio: 'ignore',
      detached: true,
    });
    await waitUntilDown(lab, apps);
    terminal.kill('SIGKILL');
    expect(await standingWithin(deadlineMs + 10_000)).toEqual(allIsWell);
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

const shop = `
services:
  db:
    image: felhom/busybox:test
    restart: "no"
    command: &run ["sh", "-c", "trap 'exit 0' TERM; while :; do date >>/data/ticks; sleep 0.2 & wait $$!; done"]
    volumes: ["./db:/data"]
  app:
    image: felhom/busybox:test
    restart: "no"
    depends_on: [db]
    command: *run
    volumes: ["./app:/data"]
`;
