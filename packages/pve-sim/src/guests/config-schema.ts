import { flag, integer, type ParamSpec, type ParamSpecs, text } from '../http/parameters.ts';
import { dnsName, memoryText, startupOrder, tagList } from './formats.ts';

const description: ParamSpec = { type: 'string', maxLength: 8192 };
const common: ParamSpecs = {
  description,
  onboot: flag,
  protection: flag,
  startup: { type: 'string', format: startupOrder },
  tags: { type: 'string', format: tagList },
  hookscript: text,
  arch: text,
  ostype: text,
  nameserver: text,
  searchdomain: text,
};

const lxc: ParamSpecs = {
  ...common,
  cores: { type: 'integer', min: 1, max: 8192 },
  cpulimit: { type: 'number', min: 0, max: 8192 },
  cpuunits: { type: 'integer', min: 0, max: 500_000 },
  memory: { type: 'integer', min: 16 },
  swap: { type: 'integer', min: 0 },
  hostname: { type: 'string', maxLength: 255, format: dnsName },
  unprivileged: flag,
  features: text,
  rootfs: text,
  cmode: text,
  console: flag,
  tty: integer,
  timezone: text,
  debug: flag,
  ...numbered('mp', 32),
  ...numbered('net', 10),
  ...numbered('dev', 10),
};

const qemu: ParamSpecs = {
  ...common,
  cores: { type: 'integer', min: 1 },
  cpulimit: { type: 'number', min: 0, max: 128 },
  cpuunits: { type: 'integer', min: 1, max: 262_144 },
  name: { type: 'string', format: dnsName },
  memory: { type: 'string', format: memoryText },
  hotplug: text,
  sockets: { type: 'integer', min: 1 },
  balloon: integer,
  kvm: flag,
  agent: text,
  boot: text,
  scsihw: text,
  machine: text,
  bios: text,
  cpu: text,
  ...numbered('scsi', 8),
  ...numbered('virtio', 8),
  ...numbered('sata', 6),
  ...numbered('ide', 4),
  ...numbered('net', 8),
};

/** The options a guest's configuration takes, with the limits the API checks. */
export function configSchema(kind: 'lxc' | 'qemu'): ParamSpecs {
  return kind === 'lxc' ? lxc : qemu;
}

/**
 * What applies at once to a running guest (pve-container LXC/Config.pm vmconfig_hotplug_pending, qemu-server
 * QemuServer.pm vmconfig_hotplug_pending); the rest waits in `[pve:pending]`.
 */
export function hotOptions(kind: 'lxc' | 'qemu'): readonly string[] {
  const both = ['onboot', 'startup', 'protection', 'tags', 'hookscript', 'cpulimit', 'cpuunits', 'description'];
  const own =
    kind === 'lxc' ? ['cores', 'memory', 'swap', 'hostname', 'nameserver', 'searchdomain'] : ['name', 'agent'];
  return [...both, ...own];
}

export function requiredOptions(kind: 'lxc' | 'qemu'): readonly string[] {
  return kind === 'lxc' ? ['rootfs'] : [];
}

export function readOnlyOptions(kind: 'lxc' | 'qemu'): readonly string[] {
  return kind === 'lxc' ? ['unprivileged'] : [];
}

function numbered(prefix: string, count: number): Record<string, ParamSpec> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`${prefix}${index}`, text]));
}
