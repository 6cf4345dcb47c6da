import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { require } from '../auth.ts';
import { configSchema } from '../guests/config-schema.ts';
import { type GuestConfig, parseConfig, storedDescription } from '../guests/guest-config.ts';
import { type GuestRecord, guestPid } from '../guests/guest-record.ts';
import { startGuest } from '../guests/power.ts';
import { emptyFolder } from '../guests/volume-snapshot.ts';
import { failure } from '../http/api-error.ts';
import { flag, integer, isSet, type Params, stringOf, text } from '../http/parameters.ts';
import type { SimNode } from '../node.ts';
import type { Call, Route } from '../router.ts';
import { type Backup, findBackup } from '../storage/backups.ts';
import type { TaskRun } from '../tasks/task-runner.ts';
import { savedConfigName } from '../vzdump/archive.ts';
import { runProgram } from '../vzdump/programs.ts';
import { parseVolume } from '../vzdump/volumes.ts';
import { type GuestKind, guestKinds, guestOf } from './guest-status.ts';

const ownParams = {
  vmid: { type: 'integer', required: true, min: 100 },
  storage: text,
  force: flag,
  start: flag,
  unique: flag,
  bwlimit: integer,
  pool: text,
} as const;

/** Creating a guest, from a backup or (a VM) empty, and destroying one. */
export const restoreRoutes: readonly Route[] = [
  {
    method: 'POST',
    path: '/nodes/{node}/lxc',
    protected: true,
    params: {
      ...configSchema('lxc'),
      ...ownParams,
      ostemplate: { type: 'string', required: true },
      restore: flag,
      'ignore-unpack-errors': flag,
      password: text,
    },
    handle: (call) => restore(call, 'lxc', stringOf(call.params, 'ostemplate') ?? ''),
  },
  {
    method: 'POST',
    path: '/nodes/{node}/qemu',
    protected: true,
    params: { ...configSchema('qemu'), ...ownParams, archive: text, 'live-restore': flag },
    handle: (call) => {
      const archive = stringOf(call.params, 'archive');
      return archive === undefined ? createVm(call) : restore(call, 'qemu', archive);
    },
  },
  ...guestKinds.map(
    (kind): Route => ({
      method: 'DELETE',
      path: `/nodes/{node}/${kind}/{vmid}`,
      protected: true,
      params: { purge: flag, force: flag, 'destroy-unreferenced-disks': flag },
      allow: ({ caller, vmid }) => require(caller, `/vms/${vmid}`, 'VM.Allocate'),
      handle: (call) => destroy(call, kind),
    }),
  ),
];

/** The configuration saved in a backup, as text. */
export async function extractConfig({ node, caller, params }: Call): Promise<string> {
  const volid = stringOf(params, 'volume') ?? '';
  const backup = findBackup(node.storages, volid);
  if (backup === null) throw failure(`volume '${volid}' does not exist`);
  require(caller, `/vms/${backup.vmid}`, 'VM.Backup');
  return readSavedConfig(backup);
}

async function readSavedConfig(backup: Backup): Promise<string> {
  const lines: string[] = [];
  const args = ['xOf', backup.path, ...decompressor(backup.path), savedConfigName(backup.type)];
  await runProgram('tar', args, { line: (line) => lines.push(line) });
  return lines.map((line) => `${line}\n`).join('');
}

function restore(call: Call, kind: GuestKind, volid: string): string {
  const { node, caller, params } = call;
  const vmid = Number(params['vmid']);
  require(caller, `/vms/${vmid}`, 'VM.Allocate');
  refuseElsewhere(node, kind, vmid);
  const present = node.guests.get(vmid);
  const word = kind === 'lxc' ? 'CT' : 'VM';
  if (present !== null && !isSet(params, 'force'))
    throw failure(`${word} ${vmid} already exists on node '${node.name}'`);
  if (present?.running === true)
    throw failure(
      kind === 'lxc' ? "can't overwrite running container" : `unable to restore VM ${vmid} - vm is running`,
    );
  if (present?.lock !== undefined) throw failure(`${word} is locked (${present.lock})`);
  if (present !== null && Number(present.config['protection'] ?? 0) === 1)
    throw failure(`can't overwrite ${word} ${vmid} - protection mode enabled`);
  const type = kind === 'lxc' ? 'vzrestore' : 'qmrestore';
  return node.runner.start({ type, id: String(vmid), caller }, (run) => runRestore(call, { kind, vmid, volid }, run));
}

/** A VMID is taken in the whole cluster. */
function refuseElsewhere({ name, cluster }: SimNode, kind: GuestKind, vmid: number): void {
  const where = cluster?.whereIs(vmid) ?? name;
  if (where !== name) throw failure(`${kind === 'lxc' ? 'CT' : 'VM'} ${vmid} already exists on node '${where}'`);
}

interface RestoreTarget {
  kind: GuestKind;
  vmid: number;
  volid: string;
}

async function runRestore(call: Call, { kind, vmid, volid }: RestoreTarget, run: TaskRun): Promise<void> {
  const { node, params } = call;
  run.log(`recovering backed-up configuration from '${volid}'`);
  const backup = findBackup(node.storages, volid);
  if (backup === null) throw new Error(`unable to restore CT ${vmid} - volume '${volid}' does not exist`);
  const saved = parseConfig(kind, await readSavedConfig(backup));
  const dir = folderOf(node, vmid);
  const guest = restoredGuest(call, { kind, vmid, dir }, saved);
  node.guests.create({ ...guest, lock: 'create' });
  run.log(`restoring '${volid}' now..`);
  run.log(`extracting archive '${backup.path}'`);
  mkdirSync(dir, { recursive: true });
  await emptyFolder(dir);
  const args = [
    'xpf',
    backup.path,
    ...decompressor(backup.path),
    '--totals',
    '--numeric-owner',
    '--acls',
    '--xattrs',
    '--exclude=./etc/vzdump',
    '-C',
    dir,
  ];
  await runProgram('tar', args, { line: run.log, signal: run.signal });
  run.log('merging backed-up and given configuration..');
  node.guests.create(guest);
  if (isSet(params, 'start')) await startRestored(node, vmid);
}

/** What the backup saved, under what the call names. Volumes lie on the storage of the call, at the saved size. */
function restoredGuest(
  { node, params }: Call,
  { kind, vmid, dir }: { kind: GuestKind; vmid: number; dir: string },
  saved: { config: GuestConfig; description?: string },
): GuestRecord {
  const given = givenOptions(kind, params);
  const storage = stringOf(params, 'storage') ?? 'local';
  const config: GuestConfig = { ...saved.config };
  for (const [key, value] of Object.entries(config)) {
    if (!/^(rootfs|mp\d+|scsi\d+|virtio\d+)$/.test(key) || parseVolume(key, String(value)).kind !== 'volume') continue;
    config[key] = `${storage}:${vmid}/vm-${vmid}-disk-0.raw,${String(value).split(',').slice(1).join(',')}`.replace(
      /,$/,
      '',
    );
  }
  const description = given.description ?? saved.description;
  const { commands } = node.guestSpecs.find((spec) => spec.vmid === vmid) ?? {};
  return {
    vmid,
    kind,
    dir,
    running: false,
    startedAt: 0,
    pid: guestPid(vmid),
    config: { ...config, ...given.config },
    ...(description === undefined ? {} : { description }),
    pending: {},
    snapshots: {},
    commands: commands ?? {},
  };
}

/** Options of the call; `rootfs=STORAGE:GIB` asks for a new volume of that size. */
function givenOptions(kind: GuestKind, params: Params): { config: GuestConfig; description?: string } {
  const config: GuestConfig = {};
  for (const [key, value] of Object.entries(params)) {
    if (configSchema(kind)[key] === undefined || key === 'description' || Array.isArray(value)) continue;
    const volume = /^([\w-]+):(\d+)$/.exec(String(value));
    const vmid = String(params['vmid']);
    config[key] = volume === null ? value : `${volume[1]}:${vmid}/vm-${vmid}-disk-0.raw,size=${volume[2]}G`;
  }
  const asked = stringOf(params, 'description');
  const description = asked === undefined ? null : storedDescription(kind, asked);
  return description === null ? { config } : { config, description };
}

/** A network without a bridge restores and then fails to start (recorded). */
async function startRestored(node: SimNode, vmid: number): Promise<void> {
  const nets = Object.entries(node.guests.get(vmid)?.config ?? {}).filter(([key]) => /^net\d+$/.test(key));
  if (nets.some(([, value]) => !/bridge=\S/.test(String(value)))) throw new Error("bridge '' does not exist");
  await startGuest(node.guests, vmid, { ms: node.delays.powerMs });
}

function createVm(call: Call): string {
  const { node, caller, params } = call;
  const vmid = Number(params['vmid']);
  require(caller, `/vms/${vmid}`, 'VM.Allocate');
  if (node.guests.get(vmid) !== null)
    throw failure(`unable to create VM ${vmid} - VM ${vmid} already exists on node '${node.name}'`);
  return node.runner.start({ type: 'qmcreate', id: String(vmid), caller }, async () => {
    const dir = folderOf(node, vmid);
    mkdirSync(dir, { recursive: true });
    node.guests.create(restoredGuest(call, { kind: 'qemu', vmid, dir }, { config: { boot: ' ' } }));
  });
}

function destroy(call: Call, kind: GuestKind): string {
  const { node, caller, vmid } = call;
  const guest = guestOf(call, kind);
  const word = kind === 'lxc' ? 'CT' : 'VM';
  if (guest.lock !== undefined) throw failure(`${word} is locked (${guest.lock})`);
  if (Number(guest.config['protection'] ?? 0) === 1)
    throw failure(`can't remove ${word} ${vmid} - protection mode enabled`);
  if (guest.running)
    throw failure(`unable to destroy ${word} ${vmid} - ${kind === 'lxc' ? 'container' : 'VM'} is running`);
  return node.runner.start(
    { type: kind === 'lxc' ? 'vzdestroy' : 'qmdestroy', id: String(vmid), caller },
    async ({ log }) => {
      if (isSet(call.params, 'purge')) log(`purging ${word} ${vmid} from related configurations..`);
      await emptyFolder(guest.dir);
      node.guests.remove(vmid);
    },
  );
}

function folderOf(node: SimNode, vmid: number): string {
  const known = node.guests.get(vmid)?.dir ?? node.guestSpecs.find((spec) => spec.vmid === vmid)?.dir;
  return known ?? join(node.state, 'volumes', String(vmid));
}

function decompressor(path: string): string[] {
  if (path.endsWith('.zst')) return ['--zstd'];
  if (path.endsWith('.gz')) return ['--gzip'];
  return path.endsWith('.lzo') ? ['--lzop'] : [];
}
