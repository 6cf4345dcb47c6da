import { type Caller, require } from '../auth.ts';
import { configSchema, hotOptions, readOnlyOptions, requiredOptions } from '../guests/config-schema.ts';
import { uniqueTags } from '../guests/formats.ts';
import { type ConfigValue, digestOf, storedDescription } from '../guests/guest-config.ts';
import type { GuestRecord } from '../guests/guest-record.ts';
import { failure, forbidden, parameterError } from '../http/api-error.ts';
import { flag, integer, type Params, stringOf, text } from '../http/parameters.ts';
import type { Call, Route } from '../router.ts';
import { type GuestKind, guestKinds, guestOf } from './guest-status.ts';

const configPrivileges = [
  'VM.Config.Disk',
  'VM.Config.CPU',
  'VM.Config.Memory',
  'VM.Config.Network',
  'VM.Config.Options',
];
const mayWrite = ({ caller, vmid }: { caller: Caller; vmid: number }): void =>
  require(caller, `/vms/${vmid}`, ...configPrivileges);
const mayRead = ({ caller, vmid }: { caller: Caller; vmid: number }): void =>
  require(caller, `/vms/${vmid}`, 'VM.Audit');

/** Reading and writing a guest's configuration. Reads are answered by the proxy itself, also with the daemon down. */
export const guestConfigRoutes: readonly Route[] = [
  ...guestKinds.flatMap((kind): Route[] => [
    {
      method: 'GET',
      path: `/nodes/{node}/${kind}/{vmid}/config`,
      protected: false,
      params: { current: flag, snapshot: text },
      allow: mayRead,
      handle: (call) => readConfig(guestOf(call, kind), call.params),
    },
    {
      method: 'GET',
      path: `/nodes/{node}/${kind}/{vmid}/pending`,
      protected: false,
      params: {},
      allow: mayRead,
      handle: (call) => readPending(guestOf(call, kind)),
    },
    {
      method: 'PUT',
      path: `/nodes/{node}/${kind}/{vmid}/config`,
      protected: true,
      params: { ...configSchema(kind), delete: text, digest: text, revert: text, skiplock: flag },
      allow: mayWrite,
      handle: (call) => {
        writeConfig(call, kind);
        return null;
      },
    },
  ]),
  {
    method: 'POST',
    path: '/nodes/{node}/qemu/{vmid}/config',
    protected: true,
    params: {
      ...configSchema('qemu'),
      delete: text,
      digest: text,
      revert: text,
      skiplock: flag,
      background_delay: integer,
    },
    allow: mayWrite,
    handle: writeInBackground,
  },
];

function readConfig(guest: GuestRecord, params: Params): Record<string, unknown> {
  const name = stringOf(params, 'snapshot');
  if (name === undefined) return shown(guest, params['current'] === 1 ? {} : guest.pending);
  const snapshot = guest.snapshots[name];
  if (snapshot === undefined) throw failure(`snapshot '${name}' does not exist`);
  const { description } = snapshot;
  return {
    ...snapshot.config,
    ...(description === undefined ? {} : { description }),
    snaptime: snapshot.snaptime,
    digest: digestOf(guest),
  };
}

function shown(guest: GuestRecord, pending: GuestRecord['pending']): Record<string, unknown> {
  const values: Record<string, unknown> = { ...guest.config };
  for (const [key, value] of Object.entries(pending)) {
    if (value === null) delete values[key];
    else values[key] = value;
  }
  if (guest.description !== undefined) values['description'] = guest.description;
  if (guest.lock !== undefined) values['lock'] = guest.lock;
  if (guest.parent !== undefined) values['parent'] = guest.parent;
  return { ...values, digest: digestOf(guest) };
}

function readPending(guest: GuestRecord): Record<string, unknown>[] {
  const live = shown(guest, {});
  const items: Record<string, unknown>[] = Object.entries(live).map(([key, value]) => {
    const waiting = guest.pending[key];
    if (waiting === undefined) return { key, value };
    return waiting === null ? { key, value, delete: 1 } : { key, value, pending: waiting };
  });
  for (const [key, value] of Object.entries(guest.pending))
    if (live[key] === undefined && value !== null) items.push({ key, pending: value });
  return items;
}

function writeConfig(call: Call, kind: GuestKind): void {
  const { node, params, vmid } = call;
  guestOf(call, kind);
  const { delete: removed, digest, skiplock, revert, background_delay: _, ...options } = params;
  if (skiplock !== undefined) throw parameterError({ skiplock: 'Only root may use this option.' });
  const deleted =
    removed === undefined
      ? []
      : String(removed)
          .split(/[,;\s]+/)
          .filter((key) => key !== '');
  if (Object.keys(options).length === 0 && deleted.length === 0 && revert === undefined)
    throw failure('no options specified');
  refuseBindMounts(options);
  node.guests.update(vmid, (guest) => {
    checkDeletes(guest, deleted);
    if (digest !== undefined && digest !== digestOf(guest)) {
      throw failure('detected modified configuration - file changed by other user? Try again.');
    }
    if (guest.lock !== undefined) throw failure(`${kind === 'lxc' ? 'CT' : 'VM'} is locked (${guest.lock})`);
    for (const key of Object.keys(options)) {
      if (readOnlyOptions(kind).includes(key)) throw failure(`unable to modify read-only option: '${key}'`);
    }
    for (const key of deleted) removeOption(guest, key);
    for (const [key, value] of Object.entries(options))
      setOption(guest, key, Array.isArray(value) ? value.join(',') : value);
  });
}

function checkDeletes(guest: GuestRecord, deleted: readonly string[]): void {
  const known = configSchema(guest.kind);
  for (const key of deleted) {
    if (key === 'lock') continue; // refused below as long as the lock stands, without effect otherwise
    if (known[key] === undefined) throw parameterError({ delete: `unknown option '${key}'` });
    if (requiredOptions(guest.kind).includes(key)) throw failure(`unable to delete required option '${key}'`);
  }
}

function setOption(guest: GuestRecord, key: string, given: ConfigValue): void {
  const value = key === 'tags' ? uniqueTags(String(given)) : given;
  if (key === 'description') {
    const stored = storedDescription(guest.kind, String(value));
    if (stored === null) delete guest.description;
    else guest.description = stored;
    return;
  }
  if (guest.running && !isHot(guest, key) && String(guest.config[key]) !== String(value)) {
    guest.pending[key] = value;
    return;
  }
  delete guest.pending[key];
  guest.config[key] = value;
}

function removeOption(guest: GuestRecord, key: string): void {
  if (key === 'description') delete guest.description;
  else if (guest.running && !isHot(guest, key) && guest.config[key] !== undefined) guest.pending[key] = null;
  else {
    delete guest.config[key];
    delete guest.pending[key];
  }
}

/** A new mount point is plugged in at once; a changed one waits for a restart. A VM takes memory where `hotplug` names it. */
function isHot(guest: GuestRecord, key: string): boolean {
  if (key === 'memory' && /\bmemory\b/.test(String(guest.config['hotplug'] ?? ''))) return true;
  return hotOptions(guest.kind).includes(key) || (/^(mp|net)\d+$/.test(key) && guest.config[key] === undefined);
}

function refuseBindMounts(options: Params): void {
  for (const [key, value] of Object.entries(options)) {
    if (!/^mp\d+$/.test(key) || !String(value).startsWith('/')) continue;
    const kind = String(value).startsWith('/dev/') ? 'device' : 'bind';
    throw forbidden(`mount point type ${kind} is only allowed for root@pam`);
  }
}

function writeInBackground(call: Call): string | null {
  const { node, caller, vmid, params } = call;
  guestOf(call, 'qemu');
  if (params['background_delay'] !== undefined) {
    writeConfig(call, 'qemu');
    return null;
  }
  const given = Object.entries(params).map(([key, value]) => `-${key} ${String(value)}`);
  return node.runner.start({ type: 'qmconfig', id: String(vmid), caller }, async ({ log }) => {
    log(`update VM ${vmid}: ${given.join(' ')}`);
    writeConfig(call, 'qemu');
  });
}
