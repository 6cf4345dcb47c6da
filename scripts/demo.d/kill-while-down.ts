import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Lab } from '../../test/lab/lab.ts';

/** A controller that was killed in the middle of a quiesce. */
export interface Killed {
  pid: number;
  atMs: number;
  /** The containers that were down at that moment. */
  down: string[];
  /** Those of the containers that ran before and do not run now. */
  stillDown(): Promise<string[]>;
}

/** Starts `backup now` and kills it as soon as a container of `stack` has ended. */
export async function killWhileDown(lab: Lab, stack: string): Promise<Killed> {
  const before = await running(lab, stack);
  const events = spawn(
    'docker',
    ['-H', lab.engine.host, 'events', '--filter', 'event=die', '--format', '{{.Actor.Attributes.name}}'],
    {
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  const died = once(createInterface({ input: events.stdout }), 'line');
  const controller = lab.startInGuest('killed', ['backup', 'now']);
  try {
    await Promise.race([
      died,
      controller.ended.then(({ code }) => {
        throw new Error(`the backup was over before anything was down (exit code ${code}):\n${controller.output()}`);
      }),
    ]);
    process.kill(controller.pid, 'SIGKILL');
  } finally {
    events.kill();
  }
  const atMs = performance.now();
  const stillDown = async (): Promise<string[]> => {
    const now = await running(lab, stack);
    return before.filter((name) => !now.includes(name));
  };
  return { pid: controller.pid, atMs, down: await stillDown(), stillDown };
}

async function running(lab: Lab, stack: string): Promise<string[]> {
  const listed = await lab.engine.docker(
    'ps',
    '--filter',
    `label=com.docker.compose.project=${stack}`,
    '--format',
    '{{.Names}}',
  );
  return listed.split('\n').filter((name) => name !== '');
}
