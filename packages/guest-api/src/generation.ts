/**
 * Where a guest keeps the generation that tells it from its restored copies. What lies in a backup
 * is older than what the agent has seen since, so a copy presents an older one and is recognised.
 */
export interface GenerationStore {
  /** The generation in force, or null before the first contact, which presents 0. */
  read(): Promise<string | null>;
  /**
   * Keeps `value` durably, unless a newer one is kept already (another process of this guest may have
   * been faster). Where it cannot be kept it is left out without an error: the old one stays in
   * force until the new one is presented.
   */
  write(value: string): Promise<void>;
}

/** `offered` when it is a generation newer than `presented`; generations are whole numbers. */
export function newerGeneration(offered: string | undefined, presented: string | null): string | undefined {
  if (offered === undefined || !/^\d{1,15}$/.test(offered)) return undefined;
  if (presented === null || !/^\d{1,15}$/.test(presented)) return offered;
  return Number(offered) > Number(presented) ? offered : undefined;
}

/** A store for tests and simulations. */
export function memoryGeneration(initial: string | null = null): GenerationStore & { value: string | null } {
  const store = {
    value: initial,
    read: async () => store.value,
    write: async (value: string) => {
      store.value = newerGeneration(value, store.value) ?? store.value;
    },
  };
  return store;
}
