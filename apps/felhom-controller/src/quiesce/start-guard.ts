import { asFailure } from '@felhom/kernel/failure.ts';
import type { GuardPort, StartedGuard } from './ports.ts';

/** The guard of a run, while nothing is down yet. Where none can be started the recovery timer is the next in line, and that is said. */
export async function startGuard(guard: GuardPort, warn: (text: string) => void): Promise<StartedGuard> {
  try {
    return await guard.start();
  } catch (error) {
    warn(
      `no guard could be started (${asFailure(error).message}): if this process dies, the recovery timer takes over`,
    );
    return { arm: () => undefined, disarm: () => undefined };
  }
}
