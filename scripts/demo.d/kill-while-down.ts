import { runningContainers, waitUntilDown } from '../../test/lab/backup.ts';
import type { Lab } from '../../test/lab/lab.ts';

/** A controller that was killed in the middle of a quiesce. */
export interface Killed {
  pid: number;
  atMs: number;
  /** The containers that were down at that moment. */
  down: string[];
}

/** Starts `backup now` while the host's snapshot hangs, and kills it once everything that ran is down. */
export async function killWhileDown(lab: Lab): Promise<Killed> {
  const down = await runningContainers(lab);
  await lab.order({ fault: 'freeze_hangs' });
  const controller = lab.startInGuest('killed', ['backup', 'now']);
  await Promise.race([
    waitUntilDown(lab, down),
    controller.ended.then(({ code }) => {
      throw new Error(`the backup was over before everything was down (exit code ${code}):\n${controller.output()}`);
    }),
  ]);
  process.kill(controller.pid, 'SIGKILL');
  return { pid: controller.pid, atMs: performance.now(), down };
}
