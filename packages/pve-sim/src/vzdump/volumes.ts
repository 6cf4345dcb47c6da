import { type GuestRecord, volumeStorages } from '../guests/guest-record.ts';

/** One volume of a container as vzdump looks at it. */
export interface Volume {
  key: string;
  mountPoint: string;
  source: string;
  kind: 'volume' | 'bind' | 'device';
  included: boolean;
  snapshots: boolean;
  /** An unsized subvolume: it can be snapshotted, and vzdump then cannot mount the snapshot (recorded). */
  unsizedSubvolume: boolean;
}

/** Root volume and mount points; a change that waits for a restart does not count yet. */
export function volumesOf(guest: GuestRecord): Volume[] {
  return Object.keys(guest.config)
    .filter((key) => key === 'rootfs' || /^mp\d+$/.test(key))
    .toSorted((a, b) => orderOf(a) - orderOf(b))
    .map((key) => parseVolume(key, String(guest.config[key])));
}

export function parseVolume(key: string, text: string): Volume {
  const [source = '', ...parts] = text.split(',');
  const options = new Map(
    parts.map((part): [string, string] => [part.split('=')[0] ?? '', part.slice(part.indexOf('=') + 1)]),
  );
  const kind = source.startsWith('/dev/') ? 'device' : source.startsWith('/') ? 'bind' : 'volume';
  const storage = volumeStorages[source.split(':')[0] ?? ''] ?? { type: 'btrfs', snapshots: true };
  return {
    key,
    mountPoint: key === 'rootfs' ? '/' : (options.get('mp') ?? `/${key}`),
    source,
    kind,
    included: key === 'rootfs' || (kind === 'volume' && options.get('backup') === '1'),
    snapshots: kind === 'volume' && storage.snapshots,
    unsizedSubvolume: storage.type === 'btrfs' && source.endsWith('.subvol') && !options.has('size'),
  };
}

/** The log line vzdump writes for a volume while it prepares. */
export function describeVolume(volume: Volume): string {
  const { key, mountPoint } = volume;
  if (volume.included) return `including mount point ${key} ('${mountPoint}') in backup`;
  return volume.kind === 'volume'
    ? `excluding volume mount point ${key} ('${mountPoint}') from backup (disabled)`
    : `excluding ${volume.kind} mount point ${key} ('${mountPoint}') from backup (not a volume)`;
}

function orderOf(key: string): number {
  return key === 'rootfs' ? -1 : Number(key.slice(2));
}
