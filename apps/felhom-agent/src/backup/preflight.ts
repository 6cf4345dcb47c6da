import { formatBytes } from '@felhom/cli/quantity.ts';
import type { Exclusion } from '@felhom/guest-api/schema.ts';
import type { BackupPolicy } from '../config.ts';
import type { JobError } from './job.ts';
import type { GuestNow, GuestVolumes, Hypervisor, StorageNow } from './ports.ts';

/** What was seen before a backup of ours starts. */
export interface PreflightFacts {
  guest: GuestNow | null;
  storage: StorageNow | null;
  volumes: GuestVolumes | null;
  /** Storages that hold the guest's included volumes. */
  pools: StorageNow[];
  lastSizeBytes: number | null;
}

export interface PreflightBounds {
  headroom: number;
  pool_full_percent: number;
}

export type PreflightVerdict = { kind: 'go'; excluded: Exclusion[] } | { kind: 'stop'; error: JobError };

/** Reads what the judgement needs. What cannot be read beyond guest and storage is left out, not guessed. */
export async function observePreflight(pve: Hypervisor, vmid: number, storageName: string): Promise<PreflightFacts> {
  const [guest, storage] = await Promise.all([pve.guest(vmid), pve.storage(storageName)]);
  if (guest === null || storage === null || !storage.active)
    return { guest, storage, volumes: null, pools: [], lastSizeBytes: null };
  const [volumes, items] = await Promise.all([
    pve.volumes(guest).catch(() => null),
    pve.backups(storageName, vmid).catch(() => []),
  ]);
  const names = new Set((volumes?.included ?? []).map((each) => each.storage));
  const pools = await Promise.all([...names].map(async (name) => await pve.storage(name).catch(() => null)));
  const last = items.toSorted((left, right) => right.ctimeSeconds - left.ctimeSeconds)[0];
  return {
    guest,
    storage,
    volumes,
    pools: pools.filter((pool) => pool !== null),
    lastSizeBytes: last?.sizeBytes ?? null,
  };
}

/** Whether a backup may start, pure. Nothing is down yet when it may not. */
export function judgePreflight(
  facts: PreflightFacts,
  policy: Pick<BackupPolicy, 'storage' | 'mode' | 'onDowngrade'>,
  bounds: PreflightBounds,
): PreflightVerdict {
  const { guest, storage, volumes } = facts;
  if (guest === null)
    return stop('unknown_guest', 'the guest is not on this node', 'Look where it is: felhom-agent guest list');
  if (storage === null)
    return stop(
      'backup_failed',
      `there is no storage ${policy.storage} on this node`,
      'Name a storage that `pvesm status` lists.',
    );
  if (!storage.active)
    return stop(
      'backup_failed',
      `storage ${policy.storage} is not active`,
      `Look why: pvesm status --storage ${policy.storage}`,
    );
  if (guest.lock !== null) return stop('busy', `the guest is locked (${guest.lock})`, lockHint(guest));
  const needed = (facts.lastSizeBytes ?? 0) + bounds.headroom;
  if (storage.totalBytes > 0 && storage.availableBytes < needed) {
    return stop(
      'backup_failed',
      `storage ${policy.storage} has ${formatBytes(storage.availableBytes)} left, the last size and headroom need ${formatBytes(needed)}`,
      'Prune older backups or add room, then try again.',
    );
  }
  const full = facts.pools.find((pool) => usedPercent(pool) >= bounds.pool_full_percent);
  if (full !== undefined) {
    const used = usedPercent(full).toFixed(0);
    return stop(
      'backup_failed',
      `the guest's own storage ${full.name} is ${used} % full: a snapshot there may fill it`,
      'Make room on it, then try again.',
    );
  }
  if (
    guest.running &&
    policy.mode === 'snapshot' &&
    volumes?.snapshotsPossible === false &&
    policy.onDowngrade === 'abort'
  ) {
    return stop(
      'mode_downgrade',
      'a volume of the guest lies on a storage without snapshots: vzdump would fall back to suspend mode',
      'Move the volume to a storage with snapshots, exclude it (backup=0), or set on_downgrade: accept.',
    );
  }
  if (guest.running && policy.mode === 'stop' && volumes?.haManaged === true) {
    return stop(
      'policy_refused',
      'high availability manages the guest and may start it while vzdump has it stopped',
      'Set mode: snapshot for it, or take it out of high availability.',
    );
  }
  return { kind: 'go', excluded: volumes?.excluded ?? [] };
}

function usedPercent(pool: StorageNow): number {
  return pool.totalBytes <= 0 ? 0 : (100 * (pool.totalBytes - pool.availableBytes)) / pool.totalBytes;
}

function lockHint(guest: GuestNow): string {
  const program = guest.kind === 'lxc' ? 'pct' : 'qm';
  return `Wait for the task that holds it; a lock that no task holds: ${program} unlock ${guest.vmid}`;
}

function stop(code: string, what: string, hint: string): PreflightVerdict {
  return { kind: 'stop', error: { code, message: `no backup was started: ${what}; the apps keep running`, hint } };
}
