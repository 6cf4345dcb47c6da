import type { Clock } from '@felhom/kernel/clock.ts';
import type { PveClient } from '@felhom/proxmox/client.ts';
import { isPveFault, PveError } from '@felhom/proxmox/errors.ts';
import { type FollowEnd, followTask } from '@felhom/proxmox/follow-task.ts';
import { readMounts } from '@felhom/proxmox/guest-mounts.ts';
import type { GuestConfig, GuestRef } from '@felhom/proxmox/guests.ts';
import { storageOf } from '@felhom/proxmox/storage.ts';
import { isUpid, parseVmid, type Upid } from '@felhom/proxmox/upid.ts';
import { emptyVzdumpLog, guestLog, readVzdumpLog } from '@felhom/proxmox/vzdump-log.ts';
import { findAct } from './find-act.ts';
import type { Act, ActAnswer, ActEnd, OperationPve, TargetBackup, TargetGuest } from './ports.ts';

/** What operations ask of a node, by its API. `tokenUser`: whose tasks are ours (`felhom@pve!agent`). */
export function operationPve(
  client: PveClient,
  { clock, tokenUser }: { clock: Clock; tokenUser: string },
): OperationPve {
  return {
    node: client.node,
    guest: async (vmid) => await readGuest(client, vmid),
    snapshots: async ({ vmid, kind }) => await client.guests.snapshots({ vmid: parseVmid(vmid), kind }),
    backup: async (volid) => await readBackup(client, volid),
    clockSeconds: async () => (await client.nodes.clockSeconds()) ?? Math.floor(clock.nowMs() / 1000),
    start: async (act) => await start(client, act),
    find: async (question) => await findAct(client.tasks, question, tokenUser),
    follow: async (upid, act, signal) => await follow(client, { clock, upid, act, signal }),
    startGuest: async ({ vmid, kind }) => {
      await client.guests.start({ vmid: parseVmid(vmid), kind });
    },
  };
}

async function readGuest({ guests }: PveClient, vmid: number): Promise<TargetGuest | null> {
  const found = (await guests.list()).find((each) => Number(each.vmid) === vmid);
  if (found === undefined) return null;
  const config = await guests.config(found, { current: true });
  return {
    vmid,
    kind: found.kind,
    running: found.running,
    lock: config.lock ?? found.lock,
    template: found.template,
    protected: config.options['protection'] === '1',
    configDigest: config.digest,
    rootVolume: rootVolumeOf(config),
    unsaved: unsavedOf(config),
  };
}

/** A container's rootfs; of a VM the first disk that is neither its EFI variables nor its TPM. */
export function rootVolumeOf(config: Pick<GuestConfig, 'kind' | 'options'>): string | null {
  const volumes = readMounts(config).filter(({ kind, key }) => kind === 'volume' && !/^(?:efidisk|tpmstate)/.test(key));
  const root = config.kind === 'lxc' ? volumes.find(({ key }) => key === 'rootfs') : volumes[0];
  return root?.source ?? null;
}

/**
 * The volumes of a container that no backup of it holds: those without `backup=1`, and unused ones. A restore over it
 * frees every one of them all the same (pve-container, LXC.pm destroy_lxc_container, with `include_unused`; source). A VM's
 * disks that are in no backup stay, as unused ones (qemu-server, restore_cleanup_oldconf; source).
 */
export function unsavedOf(config: Pick<GuestConfig, 'kind' | 'options'>): string[] {
  if (config.kind === 'qemu') return [];
  const left = readMounts(config).filter(({ kind, backup }) => kind === 'volume' && !backup);
  const unused = Object.entries(config.options).filter(([key]) => /^unused\d+$/.test(key));
  return [
    ...left.map(({ key, source }) => `${key} (${source})`),
    ...unused.map(([key, volume]) => `${key} (${volume})`),
  ];
}

/** From the list, whose size is exact: that of a single item is rounded up (recorded). */
async function readBackup({ storage }: PveClient, volid: string): Promise<TargetBackup | null> {
  const found = await storage
    .backups(storageOf(volid))
    .then((items) => items.find((item) => item.volid === volid))
    .catch((error: unknown) => {
      if (isPveFault(error, 'not-found')) return undefined;
      throw error;
    });
  if (found === undefined) return null;
  const { path } = await storage.backup(volid);
  const { kind, sizeBytes, protected: isProtected, verification } = found;
  return { volid, vmid: found.vmid, kind, sizeBytes, protected: isProtected, verification, path };
}

async function start(client: PveClient, act: Act): Promise<ActAnswer> {
  try {
    return await ask(client, act);
  } catch (error) {
    if (!(error instanceof PveError)) throw error;
    return { kind: error.outcomeUnknown ? 'lost' : 'refused', why: error.outcomeUnknown ? error.text : error.message };
  }
}

async function ask({ irreversible, vzdump }: PveClient, act: Act): Promise<ActAnswer> {
  const vmid = parseVmid(act.vmid);
  switch (act.kind) {
    case 'delete-backup':
      return started(await irreversible.deleteBackup(act.volid));
    case 'destroy-guest': {
      const { purge, unreferencedDisks, guestKind: kind } = act;
      return started(await irreversible.destroyGuest({ vmid, kind }, { purge, unreferencedDisks }));
    }
    case 'rollback':
      return started(await irreversible.rollback({ vmid, kind: act.guestKind }, act.snapshot));
    case 'restore': {
      const guest: GuestRef = { vmid, kind: act.guestKind };
      return started(await irreversible.restoreOver({ guest, volid: act.volid, storage: act.storage ?? undefined }));
    }
    case 'safety-backup': {
      const { storage, mark } = act;
      // Never pruned for it: what is to be overwritten may be worth more than the oldest backup.
      const request = { vmid, storage, mode: 'stop', mark, remove: false, protected: true } as const;
      const answer = await vzdump.start(request);
      if (answer.kind === 'started') return started(answer.upid);
      if (answer.kind === 'elsewhere') return { kind: 'refused', why: 'PVE says that the guest is on another node' };
      const { error } = answer;
      return { kind: answer.kind, why: answer.kind === 'lost' ? error.text : error.message };
    }
  }
}

const started = (upid: Upid): ActAnswer => ({ kind: 'started', upid });

async function follow(
  client: PveClient,
  { clock, upid, act, signal }: { clock: Clock; upid: string; act: Act; signal: AbortSignal | undefined },
): Promise<ActEnd> {
  if (!isUpid(upid)) return { kind: 'unknown' };
  let log = emptyVzdumpLog;
  const ended = await followTask({ tasks: client.tasks, clock }, upid, {
    signal,
    onLines: (lines) => {
      if (act.kind === 'safety-backup') log = readVzdumpLog(log, lines, act.storage);
    },
  });
  if (act.kind !== 'safety-backup') return endOf(ended, null);
  const { volid = null, result = null } = guestLog(log, parseVmid(act.vmid)) ?? {};
  const end = endOf(ended, volid);
  if (end.kind !== 'ok') return end;
  if (volid === null || result?.kind !== 'finished')
    return { kind: 'failed', reason: 'the backup of the present guest is not in the log of its task' };
  const kept = (await client.storage.backups(act.storage)).find((item) => item.volid === volid);
  return kept?.protected === true ? end : { kind: 'failed', reason: `${volid} is not there, or not protected` };
}

function endOf(ended: FollowEnd, volid: string | null): ActEnd {
  if (ended.kind === 'no-such-task') return { kind: 'unknown' };
  if (ended.kind === 'aborted') return { kind: 'aborted' };
  if (ended.end.kind === 'ok') return { kind: 'ok', volid };
  return { kind: 'failed', reason: ended.reason ?? ended.end.reason };
}
