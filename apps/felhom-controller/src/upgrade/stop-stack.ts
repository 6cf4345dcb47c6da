import type { ContainerState } from '../engine/engine.ts';
import type { Transaction } from './run.ts';

/**
 * Stops everything of the project, each container within its grace, and lets no engine that comes up start it again.
 * Answers what it stopped, or tried to: what is down is for a look to say.
 */
export async function stopStack({
  ports: { engine },
  debt,
  settings: { quiesce },
}: Transaction): Promise<ContainerState[]> {
  const own = (await engine.list()).filter(({ project }) => project === debt.stack);
  await Promise.all(
    own.map(async ({ id, stopTimeoutSeconds }) => {
      const graceMs = Math.max(0, stopTimeoutSeconds ?? 10) * 1_000;
      await engine.setRestartPolicy(id, { name: 'no', retries: 0 });
      await engine.stop(id, { boundMs: graceMs + quiesce.stopMarginMs });
    }),
  );
  return own;
}
