/** Runs `work` over all items, at most `atMost` at a time, in their order. Rejects with the first error; what was begun goes on. */
export async function inParallel<T, R>(
  items: readonly T[],
  atMost: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const run = async (): Promise<void> => {
    while (next < items.length) {
      const index = next;
      next += 1;
      const item = items[index];
      if (item !== undefined) results[index] = await work(item);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atMost, items.length) }, run));
  return results;
}

/**
 * Places for work of this process: waits its turn in order, and gives back what ends the turn. null once `closing`
 * aborts: its turn did not come.
 */
export function places(count: number): (closing: AbortSignal) => Promise<(() => void) | null> {
  let free = count;
  const waiting = new Set<(hasTurn: boolean) => void>();
  const leave = (): void => {
    const [next] = waiting;
    if (next === undefined) free += 1;
    else next(true);
  };
  const turn = async (closing: AbortSignal): Promise<boolean> =>
    await new Promise((resolve) => {
      const withdraw = (): void => end(false);
      const end = (hasTurn: boolean): void => {
        waiting.delete(end);
        closing.removeEventListener('abort', withdraw);
        resolve(hasTurn);
      };
      waiting.add(end);
      closing.addEventListener('abort', withdraw);
    });
  return async (closing) => {
    if (closing.aborted) return null;
    if (free > 0) free -= 1;
    else if (!(await turn(closing))) return null;
    let left = false;
    return () => {
      if (!left) leave();
      left = true;
    };
  };
}
