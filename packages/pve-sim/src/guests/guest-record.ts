import { z } from 'zod';
import type { GuestSpec } from '../options.ts';
import { type GuestConfig, parseConfig } from './guest-config.ts';

const values = z.record(z.string(), z.union([z.string(), z.number()]));

/** Everything the node knows about one guest: what stands in its configuration file, and whether it runs. */
export const guestRecord = z.object({
  vmid: z.number().int(),
  kind: z.enum(['lxc', 'qemu']),
  dir: z.string(),
  running: z.boolean(),
  /** Seconds since the epoch. */
  startedAt: z.number(),
  pid: z.number().int(),
  config: values,
  description: z.string().optional(),
  lock: z.string().optional(),
  parent: z.string().optional(),
  pending: z.record(z.string(), z.union([z.string(), z.number(), z.null()])),
  snapshots: z.record(
    z.string(),
    z.object({
      config: values,
      description: z.string().optional(),
      snaptime: z.number(),
      /** Where the captured files are. */
      path: z.string(),
      parent: z.string().optional(),
    }),
  ),
  commands: z.object({
    start: z.string().optional(),
    stop: z.string().optional(),
    freeze: z.string().optional(),
    thaw: z.string().optional(),
    freezer: z.string().optional(),
  }),
});
export type GuestRecord = z.infer<typeof guestRecord>;

/** Storages that hold guest volumes: `local` (raw files, no snapshots) and `local-btrfs` (snapshots). */
export const volumeStorages: Record<string, { type: string; snapshots: boolean }> = {
  local: { type: 'dir', snapshots: false },
  'local-btrfs': { type: 'btrfs', snapshots: true },
};

/** A guest as it is when the state folder sees it for the first time. */
export function newGuest(spec: GuestSpec): GuestRecord {
  const kind = spec.kind ?? 'lxc';
  const parsed = parseConfig(kind, spec.config ?? defaultConfig(spec, kind));
  const running = spec.running ?? true;
  return {
    vmid: spec.vmid,
    kind,
    dir: spec.dir,
    running,
    startedAt: Math.floor(Date.now() / 1000),
    pid: guestPid(spec.vmid),
    config: withName(kind, parsed.config, spec.name),
    ...(parsed.description === undefined ? {} : { description: parsed.description }),
    pending: {},
    snapshots: {},
    commands: spec.commands ?? {},
  };
}

/** A number that no real process has: a simulated guest has no init of its own that anybody could signal. */
export function guestPid(vmid: number): number {
  return 5_000_000 + vmid;
}

export function nameOf(guest: { kind: 'lxc' | 'qemu'; vmid: number; config: GuestConfig }): string {
  const name = guest.config[guest.kind === 'lxc' ? 'hostname' : 'name'];
  return name === undefined ? `${guest.kind === 'lxc' ? 'CT' : 'VM '}${guest.vmid}` : String(name);
}

function withName(kind: 'lxc' | 'qemu', config: GuestConfig, name: string | undefined): GuestConfig {
  return name === undefined ? config : { ...config, [kind === 'lxc' ? 'hostname' : 'name']: name };
}

function defaultConfig(spec: GuestSpec, kind: 'lxc' | 'qemu'): string {
  const storage = spec.snapshots === false ? 'local' : 'local-btrfs';
  const volume = `${storage}:${spec.vmid}/vm-${spec.vmid}-disk-0.raw,size=8G`;
  return kind === 'lxc'
    ? `arch: amd64\ncores: 2\nhostname: ct${spec.vmid}\nmemory: 2048\nostype: debian\nrootfs: ${volume}\nswap: 512\nunprivileged: 1\n`
    : `agent: 1\nboot: order=scsi0\ncores: 2\nmemory: 2048\nname: vm${spec.vmid}\nostype: l26\nscsi0: ${volume}\n`;
}
