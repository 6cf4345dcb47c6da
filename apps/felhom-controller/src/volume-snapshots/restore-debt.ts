import { z } from 'zod';

/**
 * The marker of a restore: what is being swapped for what. It is written before the first thing is
 * unpacked and erased when everything is in its place and what it replaced is gone.
 */
export const restoreDebtVersion = 1;

const path = z.string().max(4096);

/** One thing that is exchanged. All paths lie on one file system. */
export const swapItem = z.object({
  /**
   * `folder`: by renaming it. `contents`: a mount point, which cannot be renamed, so its entries are moved; `fresh` and
   * `aside` then lie in a folder inside it. `file`: replaced by renaming over it.
   */
  kind: z.enum(['folder', 'contents', 'file']),
  target: path,
  /** The new one, unpacked beside. */
  fresh: path,
  /** Where the old one goes. */
  aside: path,
  /** Whether there was one. */
  had_target: z.boolean(),
});
export type SwapItem = z.infer<typeof swapItem>;

export const restoreDebt = z.object({
  stack: z.string().max(4096),
  snapshot: z.string().max(4096),
  engine_id: z.string().max(4096),
  begun_at_ms: z.number(),
  /**
   * `unpacking`: nothing of the stack was touched; it is undone. `swapping`: everything new is whole and durable; it is
   * finished. `cleaning`: all is in place, the old is removed. `undoing`: a swap failed, and what was swapped goes back.
   * `undone`: all is back, the new is removed.
   */
  phase: z.enum(['unpacking', 'swapping', 'cleaning', 'undoing', 'undone']),
  items: z.array(swapItem),
  /** Restart policies that are off meanwhile: the engine starts containers before recovery does. */
  policies: z.array(
    z.object({
      id: path,
      name: z.enum(['no', 'always', 'unless-stopped', 'on-failure']),
      retries: z.number().int().nonnegative(),
    }),
  ),
});
export type RestoreDebt = z.infer<typeof restoreDebt>;
