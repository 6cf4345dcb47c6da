import type { ManagedField } from './managed-field.ts';
import type { FieldValue, FieldWrite, GuestKind } from './model.ts';

/** The fields whose values are text or lists. An empty one is removed: PVE has no such thing as an empty tag list. */
const atOnce = (): 'live' => 'live';
const live = { lxc: 'at once', qemu: 'at once' } as const;
const accept = (): null => null;
const setOrRemove = (_: GuestKind, option: string, value: FieldValue): FieldWrite =>
  value === null ? { remove: option } : { set: [option, value] };
const plain = (value: FieldValue): string => value ?? 'not set';

export const hostnameField: ManagedField = {
  name: 'hostname',
  option: { lxc: 'hostname', qemu: 'name' },
  canonical: (_, raw) => raw,
  write: setOrRemove,
  refuses: accept,
  effect: atOnce,
  show: plain,
  doc: {
    takes: 'a DNS name of 255 characters at most (`name` of a VM)',
    absent: 'CT or VM and its number',
    same: 'nothing: PVE keeps it as it is',
    effect: { lxc: 'at once in the configuration, in the container at its next start', qemu: 'at once' },
    right: 'VM.Config.Network (VMs: VM.Config.Options)',
  },
};

/** Any order, any separator, any case, twice or once: PVE makes one list of them (PVE/GuestHelpers.pm get_unique_tags). */
function sortedTags(raw: string): string | null {
  const tags = new Set(
    raw
      .toLowerCase()
      .split(/[,;\s]+/)
      .filter((tag) => tag !== ''),
  );
  return tags.size === 0 ? null : [...tags].toSorted().join(';');
}

export const tagsField: ManagedField = {
  name: 'tags',
  option: { lxc: 'tags', qemu: 'tags' },
  canonical: (_, raw) => (raw === null ? null : sortedTags(raw)),
  write: setOrRemove,
  refuses: accept,
  effect: atOnce,
  show: (value) => value?.replaceAll(';', ', ') ?? 'none',
  doc: {
    takes: 'a list of words, written in lower case; a tag that is not in the list is removed',
    absent: 'no tags',
    same: 'order, separators, letter case, a tag named twice',
    effect: live,
    right: 'VM.Config.Options',
  },
};

const startupParts = ['order', 'up', 'down'] as const;

/** `2,up=30`, `up=30,order=2`: PVE keeps what was written (PVE/JSONSchema.pm pve_parse_startup_order). */
function startupText(raw: string): string | null {
  const parts = new Map<string, string>();
  for (const part of raw.split(',')) {
    if (part.trim() === '') continue;
    const [, name = 'order', digits] = /^(?:(order|up|down)=)?(\d+)$/.exec(part) ?? [];
    if (digits === undefined) return raw;
    parts.set(name, String(Number(digits)));
  }
  const text = startupParts.flatMap((name) => (parts.has(name) ? [`${name}=${parts.get(name)}`] : [])).join(',');
  return text === '' ? null : text;
}

export const startupField: ManagedField = {
  name: 'startup',
  option: { lxc: 'startup', qemu: 'startup' },
  canonical: (_, raw) => (raw === null ? null : startupText(raw)),
  write: setOrRemove,
  refuses: accept,
  effect: atOnce,
  show: plain,
  doc: {
    takes: '`{ order: 2, up: 30s, down: 1m }`, each of them optional',
    absent: 'no order, no delays',
    same: 'order of the parts, `2` and `order=2`, leading zeros',
    effect: { lxc: 'at once, for the next start of the node', qemu: 'at once, for the next start of the node' },
    right: 'VM.Config.Options',
  },
};

/**
 * What PVE does to a description: a container's reads back with exactly one line break at its end, however
 * many were written (recorded); a VM's loses all white space at its end (QemuServer.pm). Perl's idea of
 * white space has NEL and not the byte order mark, JavaScript's the other way round: both are taken off.
 */
function descriptionText(kind: GuestKind, raw: string): string | null {
  const text = kind === 'lxc' ? raw.replace(/\n+$/, '') : raw.replace(/[\s\u0085\ufeff]+$/, '');
  return text === '' ? null : text;
}

export const descriptionField: ManagedField = {
  name: 'description',
  option: { lxc: 'description', qemu: 'description' },
  canonical: (kind, raw) => (raw === null ? null : descriptionText(kind, raw)),
  write: setOrRemove,
  // Perl takes the text 0 for false, and writes no comment for it (write_pct_config, write_vm_config).
  refuses: (_, value) => (value === '0' ? 'PVE cannot keep a description that is 0 and nothing else' : null),
  effect: atOnce,
  show: (value) => (value === null ? 'none' : JSON.stringify(value)),
  doc: {
    takes: 'text of 8192 characters at most; empty removes it',
    absent: 'no description',
    same: 'line breaks at its end (VMs: all white space at its end)',
    effect: live,
    right: 'VM.Config.Options',
  },
};
