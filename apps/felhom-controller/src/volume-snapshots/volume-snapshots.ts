import { Failure } from '@felhom/kernel/failure.ts';
import { captureSources, requirePossible } from './capture.ts';
import { openCatalog } from './catalog.ts';
import type { Captured, VolumeSnapshots } from './contract.ts';
import { planSnapshot } from './plan.ts';
import type { SnapshotPorts } from './ports.ts';
import { pruneSnapshots } from './prune.ts';
import { restoreSnapshot } from './restore.ts';
import type { SnapshotPolicy } from './source-plan.ts';
import { sealSnapshot, verifySnapshot } from './verify.ts';

export interface SnapshotOptions {
  /** Where snapshots lie. */
  folder: string;
  /** How many of a stack are kept, besides the last good one. */
  keep: number;
  policyOf: (stack: string) => SnapshotPolicy;
  /** Folders of our own state. */
  ownFolders: readonly string[];
}

/** Volume snapshots over ports. */
export function openVolumeSnapshots(ports: SnapshotPorts, options: SnapshotOptions): VolumeSnapshots {
  const { disk } = ports;
  const catalog = openCatalog(disk, options.folder);
  const lookOptions = (stack: string) => ({ policy: options.policyOf(stack), ownFolders: options.ownFolders });
  const prune = async (stack: string, keep: number) => await pruneSnapshots(catalog, stack, keep);

  return {
    plan: async (stack) => (await planSnapshot(ports, stack, { ...lookOptions(stack), into: options.folder })).plan,
    prepare: async (stack) => {
      const planned = await planSnapshot(ports, stack, { ...lookOptions(stack), into: options.folder });
      requirePossible(planned.plan);
      return {
        plan: planned.plan,
        capture: async (request): Promise<Captured> => {
          const { folder, manifest } = await captureSources(ports, catalog, planned, request);
          return {
            keep: async ({ isGood } = { isGood: true }) => {
              await catalog.publish(stack, folder, manifest);
              if (isGood) await catalog.markLastGood(stack, manifest.id);
              return { id: manifest.id, manifest, isLastGood: isGood };
            },
            drop: async () => await disk.remove(folder),
          };
        },
      };
    },
    seal: async (stack, id) => {
      const snapshot = await sealSnapshot(ports, catalog, stack, id);
      await prune(stack, options.keep);
      return snapshot;
    },
    list: async (stack) => await catalog.list(stack),
    stacks: async () => await catalog.stacks(),
    verify: async (stack, id) => await verifySnapshot(ports, catalog, stack, id),
    restore: async (stack, id, request) =>
      await restoreSnapshot(ports, catalog, { stack, id }, { ...request, ...lookOptions(stack) }),
    lastGood: async (stack) => {
      const pointer = await catalog.lastGood(stack);
      if (pointer.kind !== 'unreadable') return pointer.kind === 'known' ? pointer.id : null;
      throw new Failure('state_unreadable', {
        message: `nobody can tell which snapshot of ${stack} is the last good one: its pointer cannot be read`,
        hint: `Name one: felhom-controller snapshot list ${stack}`,
      });
    },
    prune,
  };
}
