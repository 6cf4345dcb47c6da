import { join } from 'node:path';
import { stateFile } from '@felhom/durable/state-file.ts';
import { z } from 'zod';

const schema = z.object({
  boot_id: z.string().max(256),
  /** Ids of containers of declared stacks that were seen running in that boot, at the last pass. */
  running: z.array(z.string().max(128)).max(4096),
  /** Ids of those that went down with the guest and have not been seen running since. */
  owed: z.array(z.string().max(128)).max(4096),
});

/**
 * What the last pass saw. An app that ends with 0 when it is told to looks like a finished task: that it ran when the
 * guest went down tells it from one. What ends by itself within a boot has finished.
 */
export type Memory = z.output<typeof schema>;

export interface MemoryPort {
  /** Null: nothing is known; a file that cannot be read counts as that. */
  read(): Promise<Memory | null>;
  write(memory: Memory): Promise<void>;
}

export function fileMemory(stateDir: string): MemoryPort {
  const file = stateFile<Memory>({ path: join(stateDir, 'declared-stacks.json'), version: 1, schema });
  return {
    read: async () => {
      const read = await file.read();
      return read.kind === 'present' ? read.value : null;
    },
    write: async (memory) => await file.write(memory),
  };
}

/** Ids of what ran when the guest went down. Pure. */
export function wentDownWithGuest(memory: Memory | null, bootId: string): ReadonlySet<string> {
  if (memory === null) return new Set();
  return new Set([...memory.owed, ...(memory.boot_id === bootId ? [] : memory.running)]);
}
