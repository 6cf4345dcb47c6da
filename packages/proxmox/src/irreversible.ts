import type { z } from 'zod';
import type { GuestRef } from './guests.ts';
import { type CallOptions, type PveHttp, type PveParams, pvePath } from './http.ts';
import { storageOf } from './storage.ts';
import { type Upid, upidSchema } from './upid.ts';

export interface DestroyOptions {
  /** Also out of backup jobs, replication and high availability. */
  purge?: boolean;
  /** Also disks of that number that the configuration does not name. */
  unreferencedDisks?: boolean;
}

export interface RestoreOverRequest {
  /** The guest that is replaced; it must be stopped. */
  guest: GuestRef;
  /** The backup, of a guest of the same kind. */
  volid: string;
  /** Where volumes go. A container's go to the storage `local` when none is named (recorded). */
  storage: string | undefined;
}

/**
 * What cannot be taken back. Every call starts a task, and is never sent twice: a lost answer is resolved by
 * looking for the task. Nothing but signed operations calls these.
 */
export interface PveIrreversible {
  /** Task `vzdestroy` or `qmdestroy`. PVE refuses a guest that runs, is locked or protected. */
  destroyGuest(guest: GuestRef, options?: CallOptions & DestroyOptions): Promise<Upid>;
  /**
   * Task `imgdel`, whose id is `VMID@STORAGE`. A protected one: the *task* fails ("cannot remove protected volume").
   * One that is not there: the task is OK (recorded).
   */
  deleteBackup(volid: string, options?: CallOptions): Promise<Upid>;
  /**
   * Task `vzrollback` or `qmrollback`. A guest that runs is ended hard first and stays stopped (pve-guest-common,
   * AbstractConfig.pm snapshot_rollback; source), a VM whose snapshot holds its memory runs again.
   */
  rollback(guest: GuestRef, snapshot: string, options?: CallOptions): Promise<Upid>;
  /** Task `vzrestore` or `qmrestore`. Refused for a guest that runs ("can't overwrite running container"). */
  restoreOver(request: RestoreOverRequest, options?: CallOptions): Promise<Upid>;
}

export function pveIrreversible(http: PveHttp, node: string): PveIrreversible {
  const guestPath = ({ kind, vmid }: GuestRef): string => pvePath`/nodes/${node}/${kind}/${vmid}`;
  const start = async (
    method: 'POST' | 'DELETE',
    path: string,
    params: PveParams,
    options: CallOptions,
  ): Promise<Upid> => (await http.call({ method, path, params, schema: taskSchema, ...options })).data;
  return {
    destroyGuest: (guest, { purge, unreferencedDisks, ...options } = {}) =>
      start('DELETE', guestPath(guest), { purge, 'destroy-unreferenced-disks': unreferencedDisks }, options),
    deleteBackup: (volid, options = {}) =>
      start('DELETE', pvePath`/nodes/${node}/storage/${storageOf(volid)}/content/${volid}`, {}, options),
    rollback: (guest, snapshot, options = {}) =>
      start('POST', `${guestPath(guest)}${pvePath`/snapshot/${snapshot}/rollback`}`, {}, options),
    restoreOver: ({ guest, volid, storage }, options = {}) => {
      const source = guest.kind === 'lxc' ? { ostemplate: volid, restore: true } : { archive: volid };
      const params = { vmid: guest.vmid, ...source, storage, force: true };
      return start('POST', pvePath`/nodes/${node}/${guest.kind}`, params, options);
    },
  };
}

const taskSchema: z.ZodType<Upid> = upidSchema;
