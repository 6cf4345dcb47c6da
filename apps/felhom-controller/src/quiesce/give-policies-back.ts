import { asFailure } from '@felhom/kernel/failure.ts';
import type { VolumeEngine } from '../engine/volume-engine.ts';

export interface HeldPolicy {
  id: string;
  name: Parameters<VolumeEngine['setRestartPolicy']>[1]['name'];
  retries: number;
}

/**
 * Restart policies that were off for a piece of work which a person has dropped: otherwise its containers would stay down
 * at the next boot, and nobody would know why. One that docker refuses keeps nothing of the others. @throws Failure
 * `docker_unreachable`.
 */
export async function givePoliciesBack(
  engine: Pick<VolumeEngine, 'setRestartPolicy'>,
  policies: readonly HeldPolicy[],
): Promise<void> {
  for (const { id, name, retries } of policies) {
    try {
      await engine.setRestartPolicy(id, { name, retries });
    } catch (error) {
      if (asFailure(error).code === 'docker_unreachable') throw error;
    }
  }
}
