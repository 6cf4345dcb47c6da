import type { Delays } from './delays.ts';

/** What one simulated guest is made of. Its `dir` holds the real files that a backup captures. */
export interface GuestSpec {
  vmid: number;
  dir: string;
  kind?: 'lxc' | 'qemu' | undefined;
  name?: string | undefined;
  /** Default true. Only read when the state folder does not know the guest yet. */
  running?: boolean | undefined;
  /** The guest's configuration as PVE writes it (`rootfs: …`, one `key: value` a line). Default: one volume that can be snapshotted. */
  config?: string | undefined;
  /** Default true. False puts the root volume on storage without snapshots, so that vzdump falls back to suspend mode. */
  snapshots?: boolean | undefined;
  /** True: the number and its folder are known, the guest itself comes into being by a restore. */
  absent?: boolean | undefined;
  commands?: GuestCommands | undefined;
}

/** Shell commands that act on what really runs in the guest. Without them a start or a stop only changes the status. */
export interface GuestCommands {
  start?: string | undefined;
  stop?: string | undefined;
  freeze?: string | undefined;
  thaw?: string | undefined;
  /** A freezer cgroup folder (v1 or v2): frozen and thawed around the snapshot. */
  freezer?: string | undefined;
}

export interface StorageSpec {
  id: string;
  dir: string;
  kind?: 'dir' | 'pbs' | undefined;
  /** As `prune-backups` of storage.cfg, for example `keep-last=3`. Default `keep-all=1`. */
  prune?: string | undefined;
  /** False: listed with `active: 0`, its content refused. */
  active?: boolean | undefined;
  /** Default `backup`. `images,rootdir` makes it a storage that vzdump refuses. */
  content?: string | undefined;
}

/** A token besides the full one. `privileges` maps a path (`/vms/101`, `/storage/bk`, `/`) to what is granted there and below. */
export interface TokenSpec {
  /** `user@realm!tokenid` */
  id: string;
  secret: string;
  privileges: Record<string, readonly string[]>;
}

export interface PveSimOptions {
  /** `host:port`; port 0 takes a free one. */
  listen: string;
  /** Folder of everything that survives a restart: certificate, token, guests, tasks, faults. */
  state: string;
  node: string;
  /** A folder that stands for /etc/pve: the nodes that name the same one are a cluster. Guests then live in it. */
  cluster?: string | undefined;
  guests: readonly GuestSpec[];
  storages: readonly StorageSpec[];
  tokens?: readonly TokenSpec[] | undefined;
  /** `/etc/vzdump.conf` of the node, read at each job: `script`, `storage`, `mode`, `compress`, … */
  vzdumpConf?: string;
  /** How long a 401 is held back. Default 3000, as recorded. */
  authDelayMs?: number;
  /** Processes that wait for a vzdump job, so that a POST is answered as quickly as a real node does. Default 2; 0 where no backup is made. */
  spareWorkers?: number;
  /** Default: as recorded. */
  delays?: Delays | undefined;
  /** Where warnings go. Default: standard error. */
  warn?: ((line: string) => void) | undefined;
}
