import { join } from 'node:path';
import { fileMarkerStore } from '@felhom/durable/marker-store.ts';
import { processStartTime, waitForLock } from '@felhom/durable/run-lock.ts';
import { type GenerationStore, newerGeneration } from '@felhom/guest-api/generation.ts';
import type { Clock } from '@felhom/kernel/clock.ts';
import { z } from 'zod';

const lockWaitMs = 2_000;
const schema = z.object({ generation: z.string().regex(/^\d{1,15}$/) });

/**
 * The generation on disk, in two copies. It lies in the state folder on purpose: a backup holds the
 * one of its time. Comparing and writing stand under a lock of their own, because `backup watch`, a
 * manual run and recovery may be offered generations at the same time.
 */
export function fileGeneration({
  stateDir,
  runDir,
  clock,
  warn,
}: {
  stateDir: string;
  runDir: string;
  clock: Clock;
  warn: (text: string) => void;
}): GenerationStore {
  const store = fileMarkerStore({ folder: join(stateDir, 'identity'), name: 'generation', version: 1, schema });
  const read = async (): Promise<string | null> => {
    const kept = await store.read();
    return kept.kind === 'present' ? kept.value.generation : null;
  };
  return {
    read,
    write: async (offered) => {
      try {
        const holder = {
          pid: process.pid,
          startTime: (await processStartTime(process.pid)) ?? '',
          purpose: 'generation',
        };
        const deadlineMs = clock.monotonicMs() + lockWaitMs;
        const acquired = await waitForLock(join(runDir, 'generation.lock'), holder, { deadlineMs, clock });
        if (acquired.kind === 'busy') return;
        try {
          if (newerGeneration(offered, await read()) !== undefined) await store.write({ generation: offered });
        } finally {
          await acquired.lock.release();
        }
      } catch (error) {
        // The agent keeps offering it, and the old one stays in force until then.
        warn(`a new generation could not be kept: ${error instanceof Error ? error.message : String(error)}`);
      }
    },
  };
}
