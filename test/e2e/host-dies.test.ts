import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
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
    expect(waitingHooks()).toHaveLength(1);
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
function waitingHooks(phase = 'pre-stop'): number[] {
  return findProcesses(
    (words) => words.includes(phase) && words.some((word) => word === join(lab.folder, 'host/agent.sock')),
  );
}

describe('the hook killed with kill -9', () => {
  it('while it waits for the apps: the backup fails, and they are back', async () => {
    const controller = await runToStep(lab, 'stopping');
    const [hook] = waitingHooks();
    process.kill(hook ?? 0, 'SIGKILL');
    const { code } = await controller.ended;
    expect(await standing()).toEqual(allIsWell);
    expect(code).toBe(3);
  });

  it('while it holds the archive back: the apps come back, and it is not called a good backup', async () => {
    const controller = await runToStep(lab, 'starting');
    const [hook] = await waitUntil('the hook waits for the apps', () => {
      const found = waitingHooks('pre-restart');
      return found.length > 0 && found;
    });
    process.kill(hook ?? 0, 'SIGKILL');
    const { code } = await controller.ended;
    expect(await standing()).toEqual(allIsWell);
    expect(code).toBe(3);
  });

  describe.each<[string, Death]>([
    ...successPhases.map((phase): [string, Death] => [`before it could say ${phase}`, { phases: [phase] }]),
    // These two are called only where something else failed.
    ['before it could say backup-abort', { phases: ['backup-abort'], fault: 'fail_snapshot' }],
    ['before it could say job-abort', { phases: ['job-start', 'job-abort'] }],
    // The agent has heard it, vzdump takes it for failed.
    ...(['backup-start', 'pre-stop', 'pre-restart', 'backup-end'] as const).map((phase): [string, Death] => [
      `after it had said ${phase}`,
      { phases: [phase], afterwards: true },
    ]),
  ])('%s', (_name, death) => {
    beforeEach(async () => await dieIn(death));
    afterEach(async () => await dieIn({ phases: [] }));

    it('leaves nothing down and nothing owed', async () => {
      if (death.fault !== undefined) await lab.order({ fault: death.fault });
      const { result } = await backUp(lab);
      expect(await standing()).toEqual(allIsWell);
      await waitUntilNoJob(lab);
      expect(await deaths()).toEqual(death.phases);
      expect(result.owed).toEqual([]);
      // What was captured without the agent's knowledge is never called more than it was seen to be.
      if (result.outcome !== 'done') expect(result.error).not.toBeNull();
      if (death.fault !== undefined) expect(result.outcome).toBe('failed');
    });
  });

  it('and the next backup is as good as the first', async () => {
    expect((await backUp(lab)).result).toMatchObject({ outcome: 'done', grade: 'app-consistent', error: null });
  });
});

/** The phases in which vzdump calls the hook in a backup that succeeds. */
const successPhases = [
  'job-init',
  'job-start',
  'backup-start',
  'pre-stop',
  'pre-restart',
  'post-restart',
  'backup-end',
  'log-end',
  'job-end',
];

/** How a hook is to die: before it says anything in one of these phases, or after it has said it. */
interface Death {
  phases: readonly string[];
  afterwards?: boolean;
  /** Ordered first. */
  fault?: 'fail_snapshot';
}

const diary = (): string => join(lab.folder, 'host/deaths');

/** The phases in which the hook has died since `dieIn`. */
async function deaths(): Promise<string[]> {
  const text = await readFile(diary(), 'utf8').catch(() => ''); // None died.
  return text.split('\n').filter((line) => line !== '');
}

/** Puts a hook in place of ours that dies as told and is ours otherwise. */
async function dieIn({ phases, afterwards = false }: Death): Promise<void> {
  const host = join(lab.folder, 'host');
  const hook = join(host, 'felhom-vzdump-hook');
  const real = join(host, 'real');
  if (!existsSync(real)) {
    await mkdir(real);
    for (const name of ['felhom-vzdump-hook', 'hook.conf']) await rename(join(host, name), join(real, name));
  }
  await rm(diary(), { force: true });
  // A hook that is a child of the one that dies must still name the worker that called.
  const [ours, asChild] = [join(real, 'felhom-vzdump-hook'), join(real, 'as-child')];
  await writeFile(asChild, (await readFile(ours, 'utf8')).replaceAll('$PPID', '$WORKER'), { mode: 0o755 });
  const speak = afterwards ? `WORKER=$PPID ${asChild} "$@"; ` : '';
  const script = [
    '#!/bin/sh',
    `case " ${phases.join(' ')} " in *" $1 "*) ${speak}echo "$1" >>${diary()}; kill -KILL $$;; esac`,
    `exec ${ours} "$@"`,
    '',
  ];
  await writeFile(hook, script.join('\n'), { mode: 0o755 });
}
