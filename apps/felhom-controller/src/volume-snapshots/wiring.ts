import { fileMarkerStore } from '@felhom/durable/marker-store.ts';
import { systemClock } from '@felhom/kernel/clock.ts';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { systemArchiver } from '../adapters/snapshot-archiver.ts';
import { snapshotDisk } from '../adapters/snapshot-disk.ts';
import { type Config, snapshotFolder } from '../config.ts';
import type { VolumeEngine } from '../engine/volume-engine.ts';
import type { OtherDebts } from '../quiesce/other-debts.ts';
import { debtsFolder } from '../wiring.ts';
import type { VolumeSnapshots } from './contract.ts';
import type { RestoreDebtPort, SnapshotPorts } from './ports.ts';
import { restoreDebt, restoreDebtVersion } from './restore-debt.ts';
import { restoreDebts } from './restore-debts.ts';
import { openVolumeSnapshots } from './volume-snapshots.ts';

/** Volume snapshots on the real engine and disk. */
export function openSnapshots(config: Config, engine: VolumeEngine): VolumeSnapshots {
  const folder = snapshotFolder(config);
  return openVolumeSnapshots(openPorts(config, engine), {
    folder,
    keep: config.snapshots.keep,
    policyOf: (stack) => policyOf(config, stack),
    ownFolders: [config.state_dir, folder],
  });
}

function policyOf({ stacks }: Config, stack: string): { include: string[]; exclude: string[] } {
  return Object.hasOwn(stacks, stack) && stacks[stack] !== undefined
    ? stacks[stack].snapshot
    : { include: [], exclude: [] };
}

/** What an interrupted restore owes, for recovery. */
export function openRestoreDebts(config: Config, engine: VolumeEngine): OtherDebts {
  return restoreDebts(openPorts(config, engine));
}

function openPorts(config: Config, engine: VolumeEngine): SnapshotPorts {
  const debts: RestoreDebtPort = fileMarkerStore({
    folder: debtsFolder(config.state_dir),
    name: 'restore',
    version: restoreDebtVersion,
    schema: restoreDebt,
  });
  return {
    clock: systemClock,
    engine,
    disk: snapshotDisk(systemCommands),
    archiver: systemArchiver(systemCommands),
    debts,
  };
}
