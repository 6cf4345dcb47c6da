import { z } from 'zod';
import { PveError } from './errors.ts';
import { type CallOptions, type PveHttp, type PveParams, pvePath } from './http.ts';
import { type Upid, upidSchema, type Vmid, vmidSchema } from './upid.ts';
import { nothing, optionalFlag, optionalNumber, optionalText, wireFlag, wireNumber } from './wire.ts';

export type GuestKind = 'lxc' | 'qemu';

/** A guest of this node: its number does not say whether it is a container or a VM, and PVE's paths differ. */
export interface GuestRef {
  vmid: Vmid;
  kind: GuestKind;
}

/** What lists and `status/current` say of a guest. */
export interface GuestStatus extends GuestRef {
  name: string;
  running: boolean;
  /** `backup`, `snapshot-delete`, …; null where the configuration carries no lock. */
  lock: string | null;
  uptimeSeconds: number;
  /** The guest's init process on the node; null for a stopped guest. */
  pid: number | null;
  cpus: number | null;
  memoryBytes: number | null;
  maxMemoryBytes: number | null;
  /** Used bytes of the root disk, as far as PVE knows (0 for VMs). */
  diskBytes: number | null;
  template: boolean;
  tags: readonly string[];
}

/** `status/current`, which also tells of high availability. */
export interface GuestStatusCurrent extends GuestStatus {
  haManaged: boolean;
}

/** A configuration as PVE gives it: option to value, plus what we always need. */
export interface GuestConfig extends GuestRef {
  /** Sent back with a write, so that it fails when somebody wrote meanwhile. */
  digest: string;
  lock: string | null;
  /** Every option, `digest` and `lock` included, as text. */
  options: Readonly<Record<string, string>>;
}

/** A configuration with what is in force and what waits for a restart, from one read. */
export interface GuestPending extends GuestRef {
  /** Of the file as a whole, pending changes included. */
  digest: string;
  lock: string | null;
  /** Option to value, in force now. */
  live: Readonly<Record<string, string>>;
  /** The same with everything applied that waits for a restart; equal to `live` where nothing waits. */
  pending: Readonly<Record<string, string>>;
}

export interface GuestConfigChange {
  /** The digest of the configuration that the change was planned on. */
  digest: string;
  set?: Readonly<Record<string, string | number | boolean>>;
  remove?: readonly string[];
}

/** A snapshot by hand, or vzdump's own (`vzdump`). */
export interface GuestSnapshot {
  name: string;
  /** Seconds since the epoch at which it was taken; null where PVE does not tell. */
  takenSeconds: number | null;
  description: string;
}

export interface PveGuests {
  /** Every guest of the node that the token may see; `[]` where it may see none (lists are filtered, not refused). */
  list(options?: CallOptions): Promise<GuestStatus[]>;
  /** Fault `not-found`: no such guest of this kind on this node. */
  status(guest: GuestRef, options?: CallOptions): Promise<GuestStatusCurrent>;
  /**
   * The configuration with pending changes in it, or with `current` the live one (a changed mount
   * point of a running CT stays pending, and vzdump uses the live one). Fault `not-found` as above.
   */
  config(guest: GuestRef, options?: CallOptions & { current?: boolean }): Promise<GuestConfig>;
  /** Both forms of the configuration (GET …/pending, GuestHelpers.pm config_with_pending_array). Fault `not-found` as above. */
  pending(guest: GuestRef, options?: CallOptions): Promise<GuestPending>;
  /** Writes at once, running or stopped. Faults: `stale-digest`, `locked`, `parameter`, `permission`, `lock-timeout`. */
  setConfig(guest: GuestRef, change: GuestConfigChange, options?: CallOptions): Promise<void>;
  /** Fault `already-running`. For an unknown or locked guest the *task* fails, not the call. */
  start(guest: GuestRef, options?: CallOptions): Promise<Upid>;
  /**
   * Asks the guest to end within `timeoutSeconds` (PVE's default 60); the task of a guest that does
   * not takes up to twice that and 5 s more. Fault `not-running` for CTs that do not run, and unknown ones.
   */
  shutdown(guest: GuestRef, options?: CallOptions & { timeoutSeconds?: number; forceStop?: boolean }): Promise<Upid>;
  /** Ends the guest hard. Fault `not-running` as above. */
  stop(guest: GuestRef, options?: CallOptions): Promise<Upid>;
  /**
   * PVE's own opinion on `feature`. Neither answer is the last word: a bind mount turns `snapshot`
   * to false although vzdump, which looks only at what it includes, takes one; and true is no promise.
   */
  feature(guest: GuestRef, feature: 'snapshot' | 'clone' | 'copy', options?: CallOptions): Promise<boolean>;
  /** Without the present state, which PVE lists as `current`. */
  snapshots(guest: GuestRef, options?: CallOptions): Promise<GuestSnapshot[]>;
}

const listItem = z.object({
  vmid: vmidSchema,
  name: optionalText,
  status: z.string(),
  lock: optionalText,
  uptime: optionalNumber,
  pid: optionalNumber,
  cpus: optionalNumber,
  mem: optionalNumber,
  maxmem: optionalNumber,
  disk: optionalNumber,
  template: optionalFlag,
  tags: optionalText,
});
const currentItem = listItem.extend({ ha: z.object({ managed: optionalFlag }).nullish() });
const configSchema = z.record(z.string(), z.unknown()).and(z.object({ digest: z.string() }));
const pendingSchema = z.array(
  z.object({
    key: z.string(),
    value: z.union([z.string(), z.number(), z.boolean()]).optional(),
    pending: z.union([z.string(), z.number(), z.boolean()]).optional(),
    /** 2: by force. */
    delete: wireNumber.optional(),
  }),
);
const featureSchema = z.object({ hasFeature: wireFlag });
const snapshotsSchema = z.array(z.object({ name: z.string(), snaptime: optionalNumber, description: optionalText }));

/** The guests of `node`. */
export function pveGuests(http: PveHttp, node: string): PveGuests {
  const guestPath = ({ kind, vmid }: GuestRef): string => pvePath`/nodes/${node}/${kind}/${vmid}`;
  const listKind = async (kind: GuestKind, options: CallOptions): Promise<GuestStatus[]> => {
    const answer = await http.call({
      method: 'GET',
      path: pvePath`/nodes/${node}/${kind}`,
      schema: z.array(listItem),
      ...options,
    });
    return answer.data.map((item) => toStatus(kind, item));
  };
  const power = async (guest: GuestRef, verb: string, params: PveParams, options: CallOptions): Promise<Upid> => {
    const call = { method: 'POST', path: `${guestPath(guest)}/status/${verb}`, params, schema: upidSchema } as const;
    return (await http.call({ ...call, ...options })).data;
  };
  return {
    list: async (options = {}) => {
      const [containers, machines] = await Promise.all([listKind('lxc', options), listKind('qemu', options)]);
      return [...containers, ...machines].toSorted((a, b) => a.vmid - b.vmid);
    },
    status: async (guest, options = {}) => {
      const call = { method: 'GET', path: `${guestPath(guest)}/status/current`, schema: currentItem } as const;
      const { data } = await http.call({ ...call, ...options });
      return { ...toStatus(guest.kind, data), haManaged: data.ha?.managed ?? false };
    },
    config: async (guest, { current, ...options } = {}) => {
      const call = {
        method: 'GET',
        path: `${guestPath(guest)}/config`,
        params: { current },
        schema: configSchema,
      } as const;
      return toConfig(guest, (await http.call({ ...call, ...options })).data);
    },
    pending: async (guest, options = {}) => {
      const call = { method: 'GET', path: `${guestPath(guest)}/pending`, schema: pendingSchema } as const;
      const { data } = await http.call({ ...call, ...options });
      return toPending(guest, data, call.path);
    },
    setConfig: async (guest, { digest, set = {}, remove = [] }, options = {}) => {
      const params = { ...set, digest, delete: remove.length === 0 ? undefined : remove.join(',') };
      await http.call({ method: 'PUT', path: `${guestPath(guest)}/config`, params, schema: nothing, ...options });
    },
    start: (guest, options = {}) => power(guest, 'start', {}, options),
    shutdown: (guest, { timeoutSeconds, forceStop, ...options } = {}) =>
      power(guest, 'shutdown', { timeout: timeoutSeconds, forceStop }, options),
    stop: (guest, options = {}) => power(guest, 'stop', {}, options),
    feature: async (guest, feature, options = {}) => {
      const call = {
        method: 'GET',
        path: `${guestPath(guest)}/feature`,
        params: { feature },
        schema: featureSchema,
      } as const;
      return (await http.call({ ...call, ...options })).data.hasFeature;
    },
    snapshots: async (guest, options = {}) => {
      const call = { method: 'GET', path: `${guestPath(guest)}/snapshot`, schema: snapshotsSchema } as const;
      const { data } = await http.call({ ...call, ...options });
      return data
        .filter(({ name }) => name !== 'current')
        .map(({ name, snaptime, description }) => ({ name, takenSeconds: snaptime, description: description ?? '' }));
    },
  };
}

/** PVE lists every option once, `digest` and `lock` among them (recorded). */
function toPending({ vmid, kind }: GuestRef, items: z.infer<typeof pendingSchema>, path: string): GuestPending {
  const live: Record<string, string> = {};
  const pending: Record<string, string> = {};
  for (const item of items) {
    if (item.value !== undefined) live[item.key] = String(item.value);
    const next = item.delete !== undefined ? undefined : (item.pending ?? item.value);
    if (next !== undefined) pending[item.key] = String(next);
  }
  const { digest, lock } = live;
  if (digest !== undefined) return { vmid, kind, digest, lock: lock ?? null, live, pending };
  const text = 'the configuration came without a digest';
  throw new PveError({ fault: { kind: 'misbehaves' }, call: `GET ${path}`, text });
}

function toStatus(kind: GuestKind, item: z.infer<typeof listItem>): GuestStatus {
  return {
    vmid: item.vmid,
    kind,
    name: item.name ?? `${kind === 'lxc' ? 'CT' : 'VM'}${item.vmid}`,
    running: item.status === 'running',
    lock: item.lock === '' ? null : item.lock,
    uptimeSeconds: item.uptime ?? 0,
    pid: item.pid,
    cpus: item.cpus,
    memoryBytes: item.mem,
    maxMemoryBytes: item.maxmem,
    diskBytes: item.disk,
    template: item.template,
    tags: (item.tags ?? '').split(/[;, ]+/).filter((tag) => tag !== ''),
  };
}

function toConfig({ vmid, kind }: GuestRef, data: z.infer<typeof configSchema>): GuestConfig {
  const options: Record<string, string> = {};
  for (const [name, value] of Object.entries(data)) {
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
      options[name] = String(value);
  }
  return { vmid, kind, digest: data.digest, lock: options['lock'] ?? null, options };
}
