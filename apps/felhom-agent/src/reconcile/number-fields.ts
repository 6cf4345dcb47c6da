import { formatBytes } from '@felhom/cli/quantity.ts';
import type { FieldDoc, ManagedField } from './managed-field.ts';
import type { FieldName, FieldValue, FieldWrite, GuestKind, Options } from './model.ts';

/**
 * The fields whose values are numbers. PVE gives them as numbers or as text (a VM's memory, every
 * cpulimit), leaves out what was never set, and keeps what was set to the default: all of these are one
 * value here. Ranges and defaults: pve-container src/PVE/LXC/Config.pm and qemu-server
 * src/PVE/QemuServer.pm ($confdesc); what applies to a running container: vmconfig_hotplug_pending there.
 */
const both = (option: string): Readonly<Record<GuestKind, string>> => ({ lxc: option, qemu: option });
const live: FieldDoc['effect'] = { lxc: 'at once', qemu: 'at once' };
const atOnce = (): 'live' => 'live';
const setNumber = (_: GuestKind, option: string, value: FieldValue): FieldWrite => ({ set: [option, Number(value)] });
const accept = (): null => null;
const plain = (value: FieldValue): string => value ?? 'not set';

/** `02` and `2.0` are 2; what is no number stays as it is, and so is drift. */
function numberText(raw: string): string {
  return /^\d+(\.\d+)?$/.test(raw.trim()) ? String(Number(raw)) : raw;
}

export const coresField: ManagedField = {
  name: 'cores',
  option: both('cores'),
  canonical: (kind, raw) => (raw === null ? (kind === 'lxc' ? 'all' : '1') : numberText(raw)),
  write: (kind, option, value) => (value === 'all' ? { remove: option } : setNumber(kind, option, value)),
  refuses: (kind, value) => (kind === 'qemu' && value === 'all' ? 'a VM has a number of cores, never all' : null),
  effect: (kind) => (kind === 'lxc' ? 'live' : 'restart'),
  show: plain,
  doc: {
    takes: 'a whole number from 1 to 8192, or `all` (containers)',
    absent: 'container: all cores of the node; VM: 1',
    same: 'number and text',
    effect: { lxc: 'at once', qemu: 'after a restart' },
    right: 'VM.Config.CPU',
  },
};

/** Whether a VM takes more memory while it runs: only where its `hotplug` names it. */
function memoryEffect(kind: GuestKind, options: Options): 'live' | 'restart' {
  if (kind === 'lxc') return 'live';
  return (options['hotplug'] ?? '').split(/[,;\s]+/).includes('memory') ? 'live' : 'restart';
}

const showMebibytes = (value: FieldValue): string =>
  value !== null && /^\d+$/.test(value) ? formatBytes(Number(value) * 2 ** 20) : plain(value);

export const memoryField: ManagedField = {
  name: 'memory',
  option: both('memory'),
  // A VM's memory is a property string whose first property needs no name (QemuServer/Memory.pm).
  canonical: (_, raw) => (raw === null ? '512' : numberText(raw.replace(/^current=/, ''))),
  write: setNumber,
  refuses: accept,
  effect: memoryEffect,
  show: showMebibytes,
  doc: {
    takes: 'a size such as `2GiB`: whole MiB, 16 MiB at least',
    absent: '512 MiB',
    same: 'number and text, `current=2048` and `2048`',
    effect: { lxc: 'at once', qemu: 'after a restart; at once where `hotplug` names memory' },
    right: 'VM.Config.Memory',
  },
};

export const swapField: ManagedField = {
  name: 'swap',
  option: { lxc: 'swap', qemu: null },
  canonical: (_, raw) => (raw === null ? '512' : numberText(raw)),
  write: setNumber,
  refuses: accept,
  effect: atOnce,
  show: showMebibytes,
  doc: {
    takes: 'a size such as `512MiB`, or `0`: whole MiB',
    absent: '512 MiB',
    same: 'number and text',
    effect: { lxc: 'at once', qemu: 'VMs have none' },
    right: 'VM.Config.Memory',
  },
};

export const cpulimitField: ManagedField = {
  name: 'cpulimit',
  option: both('cpulimit'),
  canonical: (_, raw) => (raw === null ? '0' : numberText(raw)),
  // 0 written to a running container becomes `0 100000` in cpu.max, which the kernel refuses (PVE/CGroup.pm change_cpu_quota).
  write: (kind, option, value) => (value === '0' ? { remove: option } : setNumber(kind, option, value)),
  refuses: (kind, value) => (kind === 'qemu' && Number(value) > 128 ? 'at most 128 for a VM' : null),
  effect: atOnce,
  show: (value) => (value === '0' ? 'no limit' : plain(value)),
  doc: {
    takes: 'a number from 0.01 to 8192 (VMs: 128) with three decimals at most, or 0 for no limit',
    absent: '0, no limit',
    same: 'number and text, `1.50` and `1.5`',
    effect: live,
    right: 'VM.Config.CPU',
  },
};

export const cpuunitsField: ManagedField = {
  name: 'cpuunits',
  option: both('cpuunits'),
  // On cgroup v2, which is all that Proxmox VE 9 has; on cgroup v1 a missing option meant 1024.
  canonical: (_, raw) => (raw === null ? '100' : numberText(raw)),
  write: setNumber,
  refuses: (kind, value) =>
    kind === 'qemu' && (Number(value) < 1 || Number(value) > 262_144) ? 'from 1 to 262144 for a VM' : null,
  effect: atOnce,
  show: plain,
  doc: {
    takes: 'a whole number from 0 to 500000 (VMs: 1 to 262144)',
    absent: '100 (cgroup v2)',
    same: 'number and text',
    effect: live,
    right: 'VM.Config.CPU',
  },
};

/** An option that is 1 or 0 for PVE, and not there where it was never set. */
export function flagField(name: Extract<FieldName, 'onboot' | 'protection'>): ManagedField {
  return {
    name,
    option: both(name),
    canonical: (_, raw) => (raw === null ? '0' : numberText(raw)),
    write: setNumber,
    refuses: accept,
    effect: atOnce,
    show: (value) => (value === '1' ? 'yes' : value === '0' ? 'no' : plain(value)),
    doc: {
      takes: '`true` or `false`',
      absent: 'false',
      same: '1 and 0, as number and text',
      effect: live,
      right: 'VM.Config.Options',
    },
  };
}
