import type { DataPort } from '../upgrade/ports.ts';
import type { VolumeSnapshots } from '../volume-snapshots/contract.ts';

/** A stack's data by volume snapshots. */
export function stackData(snapshots: VolumeSnapshots): DataPort {
  return {
    plan: async (stack) => {
      const plan = await snapshots.plan(stack);
      return {
        folders: plan.sources.map(({ path }) => path),
        leftOut: plan.leftOut,
        shared: plan.shared,
        obstacles: plan.obstacles,
        moved: plan.moved,
        // Unpacking happens beside what is there: the same room once more.
        neededBytes: plan.neededBytes * 2,
        restoreBytes: plan.neededBytes,
        freeBytes: plan.freeBytes,
      };
    },
    prepare: async (stack) => {
      const prepared = await snapshots.prepare(stack);
      return {
        keep: async ({ reason, signal, isGood }) => {
          const captured = await prepared.capture({ reason, signal, pushToDisk: true });
          return { id: (await captured.keep({ isGood })).id };
        },
      };
    },
    seal: async (stack, id) => void (await snapshots.seal(stack, id)),
    verify: async (stack, id) => {
      const verified = await snapshots.verify(stack, id);
      return {
        restore: async ({ inheritFds }) => {
          await snapshots.restore(stack, id, { files: false, trust: 'snapshot', inheritFds, verified });
        },
      };
    },
  };
}
