import { require } from '../auth.ts';
import type { GuestRecord } from '../guests/guest-record.ts';
import { nameOf } from '../guests/guest-record.ts';
import { diskBytes, memoryBytes, swapBytes } from '../guests/sizes.ts';
import { failure } from '../http/api-error.ts';
import { flag } from '../http/parameters.ts';
import type { Call, Route } from '../router.ts';

export type GuestKind = 'lxc' | 'qemu';
export const guestKinds: readonly GuestKind[] = ['lxc', 'qemu'];

/** Lists and current status, for both kinds. A list is filtered, never refused. */
export const guestStatusRoutes: readonly Route[] = guestKinds.flatMap((kind) => [
  {
    method: 'GET',
    path: `/nodes/{node}/${kind}`,
    protected: true,
    params: kind === 'qemu' ? { full: flag } : {},
    handle: ({ node, caller }) =>
      node.guests
        .list()
        .filter((guest) => guest.kind === kind && caller.may(`/vms/${guest.vmid}`, 'VM.Audit'))
        .map((guest) => withoutHa(guest)),
  },
  {
    method: 'GET',
    path: `/nodes/{node}/${kind}/{vmid}/status/current`,
    protected: true,
    params: {},
    allow: ({ caller, vmid }) => require(caller, `/vms/${vmid}`, 'VM.Audit'),
    handle: (call) => describeGuest(guestOf(call, kind)),
  },
]);

/** The guest, or the 500 that names its missing configuration file. */
export function guestOf({ node, vmid }: Call, kind: GuestKind): GuestRecord {
  const guest = node.guests.get(vmid);
  if (guest?.kind !== kind) throw failure(missingConfig(node.name, kind, vmid));
  return guest;
}

export function missingConfig(node: string, kind: GuestKind, vmid: number): string {
  return `Configuration file 'nodes/${node}/${kind === 'lxc' ? 'lxc' : 'qemu-server'}/${vmid}.conf' does not exist`;
}

export interface GuestStatus extends Record<string, unknown> {
  vmid: number;
  status: 'running' | 'stopped';
  cpus: number;
  lock?: string;
}

/** The fields of `status/current`. A stopped guest has no `pid`, only a running container has pressure figures. */
export function describeGuest(guest: GuestRecord): GuestStatus {
  const { running, kind } = guest;
  const uptime = running ? Math.max(0, Math.floor(Date.now() / 1000) - guest.startedAt) : 0;
  const common = {
    vmid: guest.vmid,
    name: nameOf(guest),
    status: running ? ('running' as const) : ('stopped' as const),
    uptime,
    cpu: 0,
    cpus: Number(guest.config['cores'] ?? 1),
    mem: running ? Math.min(memoryBytes(guest), 64 * 1024 ** 2) : 0,
    maxmem: memoryBytes(guest),
    disk: running && kind === 'lxc' ? Math.floor(diskBytes(guest) / 10) : 0,
    maxdisk: diskBytes(guest),
    ...(running || kind === 'lxc' ? { diskread: 0, diskwrite: 0 } : {}),
    netin: 0,
    netout: 0,
    ha: { managed: 0 },
    ...(running ? { pid: guest.pid } : {}),
    ...(guest.lock === undefined ? {} : { lock: guest.lock }),
    ...(guest.config['template'] === 1 ? { template: 1 } : {}),
    ...(guest.config['tags'] === undefined ? {} : { tags: guest.config['tags'] }),
  };
  if (kind === 'qemu') return { ...common, qmpstatus: running ? 'running' : 'stopped', memhost: 0 };
  const pressure = {
    pressurecpusome: null,
    pressurecpufull: null,
    pressureiosome: null,
    pressureiofull: null,
    pressurememorysome: null,
    pressurememoryfull: null,
  };
  return { ...common, type: 'lxc', swap: 0, maxswap: swapBytes(guest), ...(running ? pressure : {}) };
}

function withoutHa(guest: GuestRecord): Record<string, unknown> {
  const { ha: _ha, qmpstatus: _qmpstatus, ...rest } = describeGuest(guest);
  return rest;
}
