import type { Transaction } from './run.ts';

/**
 * Makes and starts the new version. What it has in common with the old one is not made anew by Compose, and still has no
 * restart policy: it gets back the one it had, or the next boot of the guest would leave it down. Twice equals once.
 */
export async function bringUpNew({ ports: { engine }, debt, settings, lock, warn }: Transaction): Promise<void> {
  const { trouble } = await engine.composeUp(debt.files, debt.up, {
    boundMs: settings.bounds.upMs,
    inheritFds: lock.inheritFds,
  });
  if (trouble !== null) warn(`docker compose was not content with the new version: ${trouble}`);
  for (const { id, name, retries } of debt.policies) await engine.setRestartPolicy(id, { name, retries });
}
