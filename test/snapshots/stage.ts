import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileMarkerStore } from '@felhom/durable/marker-store.ts';
import { systemClock } from '@felhom/kernel/clock.ts';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { systemArchiver } from 'felhom-controller/adapters/snapshot-archiver.ts';
import { snapshotDisk } from 'felhom-controller/adapters/snapshot-disk.ts';
import type { Snapshot, VolumeSnapshots } from 'felhom-controller/volume-snapshots/contract.ts';
import type { SnapshotPorts } from 'felhom-controller/volume-snapshots/ports.ts';
import { restoreDebt, restoreDebtVersion } from 'felhom-controller/volume-snapshots/restore-debt.ts';
import type { SnapshotPolicy } from 'felhom-controller/volume-snapshots/source-plan.ts';
import { openVolumeSnapshots } from 'felhom-controller/volume-snapshots/volume-snapshots.ts';
import { type FakeEngine, fakeEngine } from '../simulation/fake-engine.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';

/** A stack `shop` whose engine is in memory and whose data lies on a real file system. */
export interface Stage {
  folder: string;
  /** The data of its volume `shop_data`. */
  volume: string;
  /** A folder of the project that it writes to. */
  bind: string;
  /** Where its Compose file lies. */
  project: string;
  fake: FakeEngine;
  ports: SnapshotPorts;
  snapshots: VolumeSnapshots;
  /** prepare, capture, keep, seal */
  take(): Promise<Snapshot>;
  restore(id: string, files?: boolean): Promise<void>;
  /** The snapshot's folder. */
  kept(id: string): string;
}

const nothingNamed: SnapshotPolicy = { include: [], exclude: [] };

/** Makes the stage below `folder`; snapshots lie in `at`, which may be on another file system. */
export async function makeStage(
  folder: string,
  {
    at = join(folder, 'snapshots'),
    policy = nothingNamed,
    keep = 3,
  }: { at?: string; policy?: SnapshotPolicy; keep?: number } = {},
): Promise<Stage> {
  const volume = join(folder, 'volumes/shop_data/_data');
  const project = join(folder, 'shop');
  const bind = join(project, 'files');
  await mkdir(volume, { recursive: true });
  await mkdir(bind, { recursive: true });
  await writeFile(join(project, 'compose.yaml'), 'services: {}\n');
  const fake = fakeEngine(virtualClock());
  fake.addVolume({ name: 'shop_data', mountpoint: volume });
  fake.model('shop', {});
  fake.add({
    name: 'shop-db-1',
    project: 'shop',
    service: 'db',
    status: 'exited',
    composeFiles: [join(project, 'compose.yaml')],
    workingDir: project,
    mounts: [
      { kind: 'volume', source: volume, destination: '/data', volume: 'shop_data', writable: true },
      { kind: 'bind', source: bind, destination: '/files', volume: null, writable: true },
    ],
  });
  const ports: SnapshotPorts = {
    clock: systemClock,
    engine: fake.engine,
    disk: snapshotDisk(systemCommands),
    archiver: systemArchiver(systemCommands),
    debts: fileMarkerStore({
      folder: join(folder, 'state/debts'),
      name: 'restore',
      version: restoreDebtVersion,
      schema: restoreDebt,
    }),
  };
  const ownFolders = [join(folder, 'state'), at];
  const snapshots = openVolumeSnapshots(ports, { folder: at, keep, policyOf: () => policy, ownFolders });
  return {
    folder,
    volume,
    bind,
    project,
    fake,
    ports,
    snapshots,
    take: async () => {
      const captured = await (await snapshots.prepare('shop')).capture({ reason: 'test' });
      const { id } = await captured.keep();
      return await snapshots.seal('shop', id);
    },
    restore: async (id, files = false) => {
      await snapshots.restore('shop', id, { files, trust: 'stack', inheritFds: [] });
    },
    kept: (id) => join(at, 'shop', id),
  };
}

/** Reads a snapshot's manifest, lets `change` have it, and writes it back with a checksum that fits. */
export async function editManifest(kept: string, change: (manifest: Record<string, unknown>) => void): Promise<void> {
  const path = join(kept, 'manifest.json');
  const outer = JSON.parse(await readFile(path, 'utf8')) as { version: number; manifest: Record<string, unknown> };
  change(outer.manifest);
  const { withChecksum, manifestSchema } = await import('felhom-controller/volume-snapshots/manifest.ts');
  const parsed = manifestSchema.parse(outer.manifest);
  await writeFile(path, JSON.stringify({ version: outer.version, ...withChecksum(parsed) }));
}
