import { statfsSync } from 'node:fs';
import { freemem, totalmem, uptime } from 'node:os';
import { require } from '../auth.ts';
import { type GuestRecord, nameOf } from '../guests/guest-record.ts';
import { failure } from '../http/api-error.ts';
import { integer, numberOf, stringOf, text } from '../http/parameters.ts';
import type { SimNode } from '../node.ts';
import type { Call, Route } from '../router.ts';
import { describeGuest } from './guest-status.ts';
import { describeStorage } from './storage.ts';

/** Version, nodes, cluster and the caller's own permissions. */
export const clusterRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/version',
    protected: false,
    params: {},
    handle: () => ({ version: '9.2.11', release: '9.2', repoid: '14a22df35955d97d' }),
  },
  {
    method: 'GET',
    path: '/nodes',
    protected: false,
    params: {},
    handle: ({ node }) =>
      nodesOf(node).map(({ name, fingerprint }) => ({
        id: `node/${name}`,
        type: 'node',
        status: 'online',
        node: name,
        ssl_fingerprint: fingerprint,
        level: '',
      })),
  },
  { method: 'GET', path: '/nodes/{node}/status', protected: false, params: {}, handle: nodeStatus },
  { method: 'GET', path: '/cluster/resources', protected: false, params: { type: text }, handle: clusterResources },
  {
    method: 'GET',
    path: '/cluster/status',
    protected: false,
    params: {},
    handle: clusterStatus,
  },
  { method: 'GET', path: '/cluster/nextid', protected: false, params: { vmid: integer }, handle: nextId },
  { method: 'GET', path: '/access/permissions', protected: false, params: { path: text }, handle: permissions },
];

/** The node itself, or every node of its cluster. */
function nodesOf(node: SimNode): { name: string; fingerprint: string }[] {
  return node.cluster?.nodes() ?? [{ name: node.name, fingerprint: node.fingerprint }];
}

function guestsEverywhere(node: SimNode): { node: string; guest: GuestRecord }[] {
  return node.cluster?.guests() ?? node.guests.list().map((guest) => ({ node: node.name, guest }));
}

function clusterStatus({ node }: Call): unknown {
  const nodes = nodesOf(node);
  const members = nodes.map(({ name }, index) => ({
    type: 'node',
    online: 1,
    nodeid: node.cluster === null ? 0 : index + 1,
    level: '',
    ip: '127.0.0.1',
    local: name === node.name ? 1 : 0,
    id: `node/${name}`,
    name,
  }));
  if (node.cluster === null) return members;
  return [
    { type: 'cluster', id: 'cluster', name: 'sim', nodes: nodes.length, quorate: 1, version: nodes.length },
    ...members,
  ];
}

function nodeStatus({ node, caller }: Call): unknown {
  require(caller, `/nodes/${node.name}`, 'Sys.Audit');
  const files = statfsSync(node.state);
  const [size, free] = [files.blocks * files.bsize, files.bavail * files.bsize];
  return {
    uptime: Math.floor(uptime()),
    pveversion: 'pve-manager/9.2.11/14a22df35955d97d',
    memory: { total: totalmem(), free: freemem(), used: totalmem() - freemem(), available: freemem() },
    rootfs: { total: size, free, used: size - free, avail: free },
    swap: { total: 0, used: 0, free: 0 },
    cpu: 0,
    wait: 0,
    loadavg: ['0.00', '0.00', '0.00'],
  };
}

function clusterResources({ node, caller, params }: Call): unknown {
  const type = stringOf(params, 'type');
  const guests = guestsEverywhere(node)
    .filter(({ guest }) => caller.may(`/vms/${guest.vmid}`, 'VM.Audit'))
    .map(({ guest, node: where }) => guestResource(guest, where));
  const storages = node.storages
    .filter((storage) => caller.may(`/storage/${storage.id}`, 'Datastore.Audit'))
    .map((storage) => {
      const status = describeStorage(node, storage);
      return {
        id: `storage/${node.name}/${storage.id}`,
        type: 'storage',
        storage: storage.id,
        node: node.name,
        plugintype: status.type,
        status: status.active === 1 ? 'available' : 'unknown',
        content: status.content,
        disk: status.used,
        maxdisk: status.total,
        shared: status.shared,
      };
    });
  const nodes = nodesOf(node).map(({ name }) => ({
    id: `node/${name}`,
    type: 'node',
    node: name,
    status: 'online',
    uptime: Math.floor(uptime()),
  }));
  if (type === 'vm') return guests;
  if (type === 'storage') return storages;
  return type === 'node' ? nodes : [...guests, ...storages, ...nodes];
}

function guestResource(guest: GuestRecord, node: string): Record<string, unknown> {
  const { vmid, kind } = guest;
  const { cpus, ha: _ha, pid: _pid, swap: _swap, maxswap: _maxswap, lock, ...rest } = describeGuest(guest);
  return {
    ...rest,
    vmid,
    name: nameOf(guest),
    type: kind,
    node,
    id: `${kind}/${vmid}`,
    maxcpu: cpus,
    memhost: 0,
    template: 0,
    ...(lock === undefined ? {} : { lock }),
  };
}

/** A string, though it is a number (recorded). */
function nextId({ node, params }: Call): string {
  const wanted = numberOf(params, 'vmid');
  const taken = new Set(guestsEverywhere(node).map(({ guest }) => guest.vmid));
  if (wanted !== undefined) {
    if (taken.has(wanted)) throw failure(`VM ${wanted} already exists`);
    return String(wanted);
  }
  let vmid = 100;
  while (taken.has(vmid)) vmid += 1;
  return String(vmid);
}

function permissions({ node, caller, params }: Call): unknown {
  const token = node.tokens.find((candidate) => candidate.id === caller.id);
  const wanted = stringOf(params, 'path');
  const all: Record<string, Record<string, number>> = {};
  for (const [path, privileges] of Object.entries(token?.privileges ?? {})) {
    if (wanted !== undefined && wanted !== path) continue;
    const named = privileges.includes('*') ? everyPrivilege : privileges;
    all[path] = Object.fromEntries(named.map((privilege) => [privilege, 1]));
  }
  return all;
}

const everyPrivilege = [
  'Datastore.Allocate',
  'Datastore.AllocateSpace',
  'Datastore.AllocateTemplate',
  'Datastore.Audit',
  'Pool.Audit',
  'SDN.Use',
  'Sys.Audit',
  'Sys.Modify',
  'Sys.PowerMgmt',
  'VM.Allocate',
  'VM.Audit',
  'VM.Backup',
  'VM.Clone',
  'VM.Config.CPU',
  'VM.Config.Disk',
  'VM.Config.Memory',
  'VM.Config.Network',
  'VM.Config.Options',
  'VM.Console',
  'VM.Migrate',
  'VM.PowerMgmt',
  'VM.Snapshot',
  'VM.Snapshot.Rollback',
];
