import type { GuestConfig } from './guests.ts';

/** A mount point or disk of a guest's configuration, and what a backup will hold of it. */
export interface GuestMount {
  /** `rootfs`, `mp0`, `scsi0` */
  key: string;
  kind: 'volume' | 'bind' | 'device';
  /** The storage of a volume; null for what is bound from the host. */
  storage: string | null;
  /** The volume id, or the path on the host. */
  source: string;
  /** The path inside a container; null for a VM's disk. */
  target: string | null;
  /** Whether vzdump includes it. */
  backup: boolean;
  /** Why not, in the operator's words; null where it is included. */
  whyNot: string | null;
}

/**
 * What the configuration mounts. A container's root is always in a backup, its other volumes only with
 * `backup=1`, what is bound from the host never (pve-container, LXC/Config.pm mountpoint_backup_enabled);
 * a VM's disks are, unless `backup=0`, and CD drives never.
 */
export function readMounts({ kind, options }: Pick<GuestConfig, 'kind' | 'options'>): GuestMount[] {
  const pattern = kind === 'lxc' ? /^(?:rootfs|mp\d+)$/ : /^(?:(?:scsi|virtio|sata|ide|efidisk|tpmstate)\d+)$/;
  return Object.entries(options)
    .filter(([key]) => pattern.test(key))
    .flatMap(([key, value]) => (kind === 'lxc' ? containerMount(key, value) : machineDisk(key, value)))
    .toSorted((a, b) => a.key.localeCompare(b.key, 'en', { numeric: true }));
}

function containerMount(key: string, value: string): GuestMount[] {
  const { source, properties } = splitProperties(value);
  const kind = source.startsWith('/dev/') ? 'device' : source.startsWith('/') ? 'bind' : 'volume';
  const target = key === 'rootfs' ? '/' : (properties.get('mp') ?? null);
  const backup = kind === 'volume' && (key === 'rootfs' || properties.get('backup') === '1');
  return [
    {
      key,
      kind,
      storage: storageName(kind, source),
      source,
      target,
      backup,
      whyNot: backup ? null : whyNot(kind, 'volume'),
    },
  ];
}

function machineDisk(key: string, value: string): GuestMount[] {
  const { source, properties } = splitProperties(value);
  if (source === 'none' || properties.get('media') === 'cdrom') return [];
  const kind = source.startsWith('/') ? 'device' : 'volume';
  const backup = properties.get('backup') !== '0';
  return [
    {
      key,
      kind,
      storage: storageName(kind, source),
      source,
      target: null,
      backup,
      whyNot: backup ? null : whyNot('volume', 'disk'),
    },
  ];
}

const storageName = (kind: GuestMount['kind'], source: string): string | null =>
  kind === 'volume' ? (source.split(':')[0] ?? null) : null;

function whyNot(kind: GuestMount['kind'], what: string): string {
  if (kind === 'bind') return 'bind mount of the host';
  return kind === 'device' ? 'device of the host' : `backup is switched off for this ${what}`;
}

/** `local:101/disk.raw,mp=/srv,backup=1`: the first part may be written `volume=…` or `file=…`. */
function splitProperties(value: string): { source: string; properties: ReadonlyMap<string, string> } {
  const [first = '', ...rest] = value.split(',');
  const properties = new Map(rest.map((part) => [part.slice(0, part.indexOf('=')), part.slice(part.indexOf('=') + 1)]));
  return { source: first.replace(/^(?:volume|file)=/, ''), properties };
}
