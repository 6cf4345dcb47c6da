import { z } from 'zod';
import { PveError } from './errors.ts';
import { type CallOptions, type PveHttp, pvePath } from './http.ts';
import { type Vmid, vmidSchema } from './upid.ts';
import { nothing, optionalFlag, optionalNumber, optionalText, wireNumber } from './wire.ts';

export interface StorageStatus {
  name: string;
  /** `dir`, `pbs`, `nfs`, `zfspool`, … */
  type: string;
  /** Reachable now. An inactive storage reports 0 bytes in all. */
  active: boolean;
  enabled: boolean;
  shared: boolean;
  /** `backup`, `images`, `rootdir`, … */
  content: readonly string[];
  totalBytes: number;
  usedBytes: number;
  availableBytes: number;
}

/** A backup on a storage, the same for every kind of storage. */
export interface BackupItem {
  /** `bk:backup/vzdump-lxc-101-2026_11_20-23_35_22.tar.zst`, `pbs:backup/ct/101/2026-11-20T23:35:22Z` */
  volid: string;
  storage: string;
  storageType: string;
  vmid: Vmid;
  kind: 'lxc' | 'qemu' | null;
  /** Seconds since the epoch at which the backup began; on file storages made from the file's name. */
  createdSeconds: number;
  /** null where PBS does not know (it then reports 1). */
  sizeBytes: number | null;
  /** The list carries the first line only (Plugin.pm:1738); '' without notes. */
  notesFirstLine: string;
  protected: boolean;
  /** PBS: the last verification; null where there was none and on other storages. */
  verification: 'ok' | 'failed' | null;
  encrypted: boolean;
}

/** What a single backup says besides its list entry. */
export interface BackupDetails {
  volid: string;
  /** The whole text, '' without notes. */
  notes: string;
  protected: boolean;
  sizeBytes: number | null;
  /** The file on the node; null where there is none (PBS). */
  path: string | null;
}

export interface PveStorage {
  list(options?: CallOptions): Promise<StorageStatus[]>;
  /** Fault `not-found` or `permission`. */
  status(storage: string, options?: CallOptions): Promise<StorageStatus>;
  /** Newest first. Faults `storage-inactive`, `not-found`, `permission`. */
  backups(storage: string, options?: CallOptions & { vmid?: Vmid }): Promise<BackupItem[]>;
  /** Fault `not-found`: no such backup. */
  backup(volid: string, options?: CallOptions): Promise<BackupDetails>;
  /** Replaces the whole text. */
  setNotes(volid: string, notes: string, options?: CallOptions): Promise<void>;
  /** A protected backup is neither pruned nor deleted. */
  setProtected(volid: string, isProtected: boolean, options?: CallOptions): Promise<void>;
}

const statusSchema = z.object({
  storage: z.string().optional(),
  type: z.string(),
  active: optionalFlag,
  enabled: optionalFlag,
  shared: optionalFlag,
  content: optionalText,
  total: optionalNumber,
  used: optionalNumber,
  avail: optionalNumber,
});

const itemSchema = z.object({
  volid: z.string(),
  vmid: vmidSchema.nullish().catch(null),
  ctime: wireNumber,
  size: optionalNumber,
  format: optionalText,
  subtype: optionalText,
  notes: optionalText,
  protected: optionalFlag,
  verification: z.object({ state: z.string() }).nullish().catch(null),
  encrypted: z.unknown().optional(),
});

const detailsSchema = z.object({
  notes: optionalText,
  protected: optionalFlag,
  size: optionalNumber,
  path: optionalText,
});

/** A listing may take a slow storage long: as long as PVE's own inner limit. */
const listingTimeoutMs = 35_000;

/** The storages as `node` sees them. */
export function pveStorage(http: PveHttp, node: string): PveStorage {
  const storagePath = (storage: string): string => pvePath`/nodes/${node}/storage/${storage}`;
  const itemPath = (volid: string): string => `${storagePath(storageOf(volid))}${pvePath`/content/${volid}`}`;
  // A storage never changes its type, and the content list does not carry it.
  const types = new Map<string, string>();
  const status: PveStorage['status'] = async (storage, options = {}) => {
    const { data } = await http.call({
      method: 'GET',
      path: `${storagePath(storage)}/status`,
      schema: statusSchema,
      ...options,
    });
    types.set(storage, data.type);
    return toStatus(storage, data);
  };
  const put = async (volid: string, params: Record<string, string | boolean>, options: CallOptions): Promise<void> => {
    await http.call({ method: 'PUT', path: itemPath(volid), params, schema: nothing, ...options });
  };
  return {
    status,
    list: async (options = {}) => {
      const { data } = await http.call({
        method: 'GET',
        path: pvePath`/nodes/${node}/storage`,
        schema: z.array(statusSchema),
        ...options,
      });
      return data.map((item) => toStatus(item.storage ?? '', item));
    },
    backups: async (storage, { vmid, ...options } = {}) => {
      const params = { content: 'backup', vmid };
      const path = `${storagePath(storage)}/content`;
      const bounds = { timeoutMs: listingTimeoutMs, ...options };
      const { data } = await http.call({ method: 'GET', path, params, schema: z.array(itemSchema), ...bounds });
      const type = types.get(storage) ?? (await status(storage, options)).type;
      return data
        .flatMap((item) => toBackup(item, storage, type))
        .toSorted((a, b) => b.createdSeconds - a.createdSeconds);
    },
    backup: async (volid, options = {}) => {
      const { data } = await http.call({ method: 'GET', path: itemPath(volid), schema: detailsSchema, ...options });
      const path = data.path?.startsWith('/') === true ? data.path : null;
      return { volid, notes: data.notes ?? '', protected: data.protected, sizeBytes: knownSize(data.size), path };
    },
    setNotes: (volid, notes, options = {}) => put(volid, { notes }, options),
    setProtected: (volid, isProtected, options = {}) => put(volid, { protected: isProtected }, options),
  };
}

/** The storage's name in a volid. Throws PveError `not-found` for text that is no volid. */
export function storageOf(volid: string): string {
  const match = /^([A-Za-z][A-Za-z0-9._-]*):./.exec(volid);
  if (match?.[1] !== undefined) return match[1];
  throw new PveError({
    fault: { kind: 'not-found' },
    call: 'GET content',
    text: `${JSON.stringify(volid)} is not a volume id`,
  });
}

function toStatus(name: string, item: z.infer<typeof statusSchema>): StorageStatus {
  return {
    name,
    type: item.type,
    active: item.active,
    enabled: item.enabled,
    shared: item.shared,
    content: (item.content ?? '').split(',').filter((kind) => kind !== ''),
    totalBytes: item.total ?? 0,
    usedBytes: item.used ?? 0,
    availableBytes: item.avail ?? 0,
  };
}

/** One list entry; nothing for archives whose name tells no guest. */
function toBackup(item: z.infer<typeof itemSchema>, storage: string, storageType: string): BackupItem[] {
  if (item.vmid === null || item.vmid === undefined) return [];
  const { verification } = item;
  return [
    {
      volid: item.volid,
      storage,
      storageType,
      vmid: item.vmid,
      kind: kindOf(item),
      createdSeconds: item.ctime,
      sizeBytes: storageType === 'pbs' && item.size === 1 ? null : item.size,
      notesFirstLine: (item.notes ?? '').split('\n')[0] ?? '',
      protected: item.protected,
      verification: verification?.state === 'ok' ? 'ok' : verification?.state === 'failed' ? 'failed' : null,
      encrypted:
        item.encrypted !== undefined && item.encrypted !== null && item.encrypted !== 0 && item.encrypted !== '',
    },
  ];
}

function kindOf({ subtype, format, volid }: z.infer<typeof itemSchema>): 'lxc' | 'qemu' | null {
  if (subtype === 'lxc' || format === 'pbs-ct' || /\bvzdump-lxc-/.test(volid)) return 'lxc';
  return subtype === 'qemu' || format === 'pbs-vm' || /\bvzdump-qemu-/.test(volid) ? 'qemu' : null;
}

const knownSize = (size: number | null): number | null => (size === null || size <= 1 ? null : size);
