import { mkdirSync, statfsSync } from 'node:fs';
import { require } from '../auth.ts';
import { failure, parameterError } from '../http/api-error.ts';
import { flag, integer, isSet, numberOf, stringOf, text } from '../http/parameters.ts';
import type { SimNode } from '../node.ts';
import type { StorageSpec } from '../options.ts';
import type { Call, Route } from '../router.ts';
import { type Backup, findBackup, listBackups, removeBackup, setNotes, setProtected } from '../storage/backups.ts';
import { markForPrune, parseRetention } from '../storage/retention.ts';

const storagePath = '/nodes/{node}/storage';
const audits = ({ caller, path }: Omit<Call, 'params'>): void =>
  require(caller, `/storage/${path['storage']}`, 'Datastore.Audit', 'Datastore.AllocateSpace');

/** Storages and the backups on them. */
export const storageRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: storagePath,
    protected: true,
    params: { storage: text, content: text, enabled: flag, format: flag, target: text },
    handle: listStorages,
  },
  {
    method: 'GET',
    path: `${storagePath}/{storage}/status`,
    protected: true,
    params: {},
    allow: audits,
    handle: storageStatus,
  },
  {
    method: 'GET',
    path: `${storagePath}/{storage}/content`,
    protected: true,
    params: { content: text, vmid: integer },
    allow: audits,
    handle: listContent,
  },
  {
    method: 'GET',
    path: `${storagePath}/{storage}/prunebackups`,
    protected: true,
    params: { vmid: integer, type: text, 'prune-backups': text },
    allow: audits,
    handle: (call) =>
      pruneMarks(call).map(({ backup, mark }) => ({
        volid: backup.volid,
        vmid: backup.vmid,
        type: backup.type,
        ctime: backup.ctime,
        mark,
      })),
  },
  {
    method: 'DELETE',
    path: `${storagePath}/{storage}/prunebackups`,
    protected: true,
    params: { vmid: integer, type: text, 'prune-backups': text },
    handle: pruneNow,
  },
  { method: 'GET', path: `${storagePath}/{storage}/content/{volume}`, protected: true, params: {}, handle: showItem },
  {
    method: 'PUT',
    path: `${storagePath}/{storage}/content/{volume}`,
    protected: true,
    params: { notes: text, protected: flag },
    handle: changeItem,
  },
  {
    method: 'DELETE',
    path: `${storagePath}/{storage}/content/{volume}`,
    protected: true,
    params: { delay: integer },
    handle: deleteItem,
  },
];

export interface StorageStatus {
  storage: string;
  type: string;
  content: string;
  active: number;
  enabled: number;
  shared: number;
  total: number;
  used: number;
  avail: number;
  used_fraction?: number;
}

export function describeStorage(node: SimNode, storage: StorageSpec): StorageStatus {
  const kind = storage.kind ?? 'dir';
  const common = {
    storage: storage.id,
    type: kind,
    content: storage.content ?? 'backup',
    enabled: 1,
    shared: kind === 'pbs' ? 1 : 0,
  };
  if (!isActive(node, storage)) return { ...common, active: 0, total: 0, used: 0, avail: 0 };
  mkdirSync(storage.dir, { recursive: true });
  const files = statfsSync(storage.dir);
  const [total, avail] = [files.blocks * files.bsize, files.bavail * files.bsize];
  const used = total - files.bfree * files.bsize;
  return { ...common, active: 1, total, used, avail, used_fraction: total === 0 ? 0 : used / total };
}

function isActive(node: SimNode, storage: StorageSpec): boolean {
  return (
    storage.active !== false && node.faults.peek('storage_inactive', (fault) => fault.storage === storage.id) === null
  );
}

/** The storage of the path, or the 500 that PVE answers for an unknown or inactive one. */
export function activeStorage(node: SimNode, id: string): StorageSpec {
  const storage = node.storages.find((candidate) => candidate.id === id);
  if (storage === undefined) throw failure(`storage '${id}' does not exist`);
  if (!isActive(node, storage))
    throw failure(`unable to activate storage '${id}' - directory '${storage.dir}' does not exist or is unreachable`);
  return storage;
}

function listStorages({ node, caller, params }: Call): unknown {
  const [id, content] = [stringOf(params, 'storage'), stringOf(params, 'content')];
  return node.storages
    .filter((storage) =>
      ['Datastore.Audit', 'Datastore.AllocateSpace'].some((privilege) =>
        caller.may(`/storage/${storage.id}`, privilege),
      ),
    )
    .filter((storage) => id === undefined || storage.id === id)
    .filter((storage) => content === undefined || (storage.content ?? 'backup').split(',').includes(content))
    .map((storage) => describeStorage(node, storage));
}

function storageStatus({ node, path }: Call): unknown {
  const storage = node.storages.find((candidate) => candidate.id === path['storage']);
  if (storage === undefined) throw failure(`storage '${path['storage']}' does not exist`);
  const { storage: _, used_fraction: __, ...status } = describeStorage(node, storage);
  return status;
}

/** The caller sees backups of guests it may back up. `notes` is the first line only; `protected` only when set. */
function listContent({ node, caller, path, params }: Call): unknown {
  const storage = activeStorage(node, path['storage'] ?? '');
  const [content, vmid] = [stringOf(params, 'content'), numberOf(params, 'vmid')];
  if (content !== undefined && content !== 'backup') return [];
  const sees = (backup: Backup): boolean =>
    caller.may(`/storage/${storage.id}`, 'Datastore.Allocate') || caller.may(`/vms/${backup.vmid}`, 'VM.Backup');
  return listBackups(storage)
    .filter((backup) => (vmid === undefined || backup.vmid === vmid) && sees(backup))
    .map(contentItem);
}

function contentItem(backup: Backup): Record<string, unknown> {
  const { volid, vmid, ctime, size, format } = backup;
  const subtype = { subtype: backup.type };
  const notes = backup.notes.split('\n')[0] ?? '';
  return {
    volid,
    vmid,
    ctime,
    size: backup.storage.kind === 'pbs' && size === 0 ? 1 : size,
    format,
    content: 'backup',
    ...subtype,
    ...(notes === '' ? {} : { notes: backup.storage.kind === 'pbs' ? backup.notes : notes }),
    ...(backup.protected ? { protected: 1 } : {}),
  };
}

function itemOf({ node, caller, path }: Call): Backup {
  const storage = activeStorage(node, path['storage'] ?? '');
  const name = path['volume'] ?? '';
  const volid = name.startsWith(`${storage.id}:`) ? name : `${storage.id}:${name}`;
  const backup = findBackup([storage], volid);
  if (backup === null) throw failure(`volume_size_info on '${volid}' failed - no format`);
  if (!caller.may(`/storage/${storage.id}`, 'Datastore.Allocate')) require(caller, `/vms/${backup.vmid}`, 'VM.Backup');
  return backup;
}

/** A single item has another shape than a list's: `size` rounded up to 512 bytes, all of the notes, no time (recorded). */
function showItem(call: Call): unknown {
  const backup = itemOf(call);
  const size = Math.ceil(backup.size / 512) * 512;
  return {
    path: backup.path,
    size,
    used: Math.ceil(backup.size / 4096) * 4096,
    format: backup.storage.kind === 'pbs' ? backup.format : 'raw',
    notes: backup.notes,
    protected: backup.protected ? 1 : 0,
  };
}

function changeItem(call: Call): null {
  const backup = itemOf(call);
  const notes = stringOf(call.params, 'notes');
  if (notes !== undefined) setNotes(backup, notes);
  if (call.params['protected'] !== undefined) setProtected(backup, isSet(call.params, 'protected'));
  return null;
}

/** With `delay` the answer waits for the end, and is then null; a missing file is no error. */
async function deleteItem(call: Call): Promise<string | null> {
  const { node, caller, path } = call;
  const storage = activeStorage(node, path['storage'] ?? '');
  const name = path['volume'] ?? '';
  const volid = name.startsWith(`${storage.id}:`) ? name : `${storage.id}:${name}`;
  const backup = findBackup([storage], volid);
  const vmid = backup?.vmid ?? Number(/-(\d+)-/.exec(volid)?.[1] ?? 0);
  if (!caller.may(`/storage/${storage.id}`, 'Datastore.Allocate')) require(caller, `/vms/${vmid}`, 'VM.Backup');
  const upid = node.runner.start({ type: 'imgdel', id: `${vmid}@${storage.id}`, caller }, async ({ log }) => {
    if (backup?.protected === true)
      throw new Error(`cannot remove protected volume '${volid.slice(storage.id.length + 1)}' on '${storage.id}'`);
    if (backup !== null) removeBackup(backup);
    log(`Removed volume '${volid}'`);
  });
  if (call.params['delay'] === undefined) return upid;
  await Promise.resolve();
  return node.tasks.end(upid)?.exitstatus === 'OK' ? null : upid;
}

function pruneMarks(call: Call): ReturnType<typeof markForPrune> {
  const { node, path, params } = call;
  const storage = activeStorage(node, path['storage'] ?? '');
  const parsed = parseRetention(stringOf(params, 'prune-backups') ?? storage.prune ?? 'keep-all=1');
  if (parsed.kind === 'error') throw parameterError({ 'prune-backups': parsed.error });
  const [vmid, type] = [numberOf(params, 'vmid'), stringOf(params, 'type')];
  const groups = new Map<string, Backup[]>();
  for (const backup of listBackups(storage)) {
    if ((vmid !== undefined && backup.vmid !== vmid) || (type !== undefined && backup.type !== type)) continue;
    const key = `${backup.type}/${backup.vmid}`;
    groups.set(key, [...(groups.get(key) ?? []), backup]);
  }
  return [...groups.values()].flatMap((group) => markForPrune(group, parsed.retention));
}

function pruneNow(call: Call): string {
  const { node, caller, path, params } = call;
  require(caller, `/storage/${path['storage']}`, 'Datastore.Allocate');
  const id = `${numberOf(params, 'vmid') ?? ''}@${path['storage']}`;
  return node.runner.start({ type: 'prunebackups', id, caller }, async ({ log }) => {
    for (const { backup, mark } of pruneMarks(call)) {
      log(`${mark} ${backup.volid}`);
      if (mark === 'remove') removeBackup(backup);
    }
  });
}
