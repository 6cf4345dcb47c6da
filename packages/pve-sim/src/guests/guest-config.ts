import { createHash } from 'node:crypto';

export type ConfigValue = string | number;
/** Options of a guest without `description`, `lock` and `digest`, which are kept beside them. */
export type GuestConfig = Record<string, ConfigValue>;

const lxcNumbers = new Set([
  'cores',
  'memory',
  'swap',
  'unprivileged',
  'onboot',
  'protection',
  'console',
  'tty',
  'template',
  'cpuunits',
  'debug',
]);
const qemuNumbers = new Set([
  'cores',
  'sockets',
  'kvm',
  'onboot',
  'protection',
  'acpi',
  'tablet',
  'template',
  'numa',
  'cpuunits',
  'balloon',
  'vcpus',
]);

/** Which options the API answers as numbers. A VM's `memory` is a string (recorded). */
export function isNumberOption(kind: 'lxc' | 'qemu', key: string): boolean {
  return (kind === 'lxc' ? lxcNumbers : qemuNumbers).has(key);
}

/**
 * The description as it reads back after being stored; null when nothing is left of it. The text 0 is
 * false for Perl: write_pct_config and write_vm_config write no comment for it.
 */
export function storedDescription(kind: 'lxc' | 'qemu', text: string): string | null {
  if (text === '0') return null;
  if (kind === 'qemu') return text.replace(/\s+$/, '') || null;
  const kept = text.replace(/\n+$/, '');
  return kept === '' ? null : `${kept}\n`;
}

/** The configuration file as PVE writes it: description as comment lines, options sorted, pending values, snapshots. */
export function renderConfig(guest: RenderedGuest): string {
  const sections = [section(guest.config, guest.description, guest.lock, guest.parent)];
  if (Object.keys(guest.pending).length > 0) sections.push(pendingSection(guest.pending));
  for (const name of Object.keys(guest.snapshots).toSorted()) {
    const snapshot = guest.snapshots[name];
    if (snapshot === undefined) continue;
    sections.push(
      `[${name}]\n${section(snapshot.config, snapshot.description, undefined, undefined, snapshot.snaptime)}`,
    );
  }
  return sections.join('\n');
}

export interface RenderedGuest {
  config: GuestConfig;
  description?: string | undefined;
  lock?: string | undefined;
  parent?: string | undefined;
  pending: Record<string, ConfigValue | null>;
  snapshots: Record<string, { config: GuestConfig; description?: string | undefined; snaptime: number }>;
}

/** SHA-1 of the file: the same digests as recorded for the same options. */
export function digestOf(guest: RenderedGuest): string {
  return createHash('sha1').update(renderConfig(guest)).digest('hex');
}

function section(
  config: GuestConfig,
  description: string | undefined,
  lock: string | undefined,
  parent: string | undefined,
  snaptime?: number,
): string {
  const options: GuestConfig = { ...config };
  if (lock !== undefined) options['lock'] = lock;
  if (parent !== undefined) options['parent'] = parent;
  if (snaptime !== undefined) options['snaptime'] = snaptime;
  const comment = (description ?? '').replace(/\n$/, '');
  const lines = comment === '' ? [] : comment.split('\n');
  return lines.map((line) => `#${encodeComment(line)}\n`).join('') + optionLines(options);
}

function optionLines(options: GuestConfig): string {
  return Object.keys(options)
    .toSorted()
    .map((key) => `${key}: ${options[key]}\n`)
    .join('');
}

function pendingSection(pending: Record<string, ConfigValue | null>): string {
  const removed = Object.keys(pending).filter((key) => pending[key] === null);
  const set: GuestConfig = {};
  for (const [key, value] of Object.entries(pending)) if (value !== null) set[key] = value;
  const head = removed.length === 0 ? '' : `delete: ${removed.toSorted().join(',')}\n`;
  return `[pve:pending]\n${head}${optionLines(set)}`;
}

/** Comment lines keep printable ASCII but `%` and `:`; the rest is percent-encoded UTF-8. */
function encodeComment(line: string): string {
  let encoded = '';
  for (const byte of Buffer.from(line, 'utf8')) {
    const plain = byte >= 0x20 && byte < 0x7f && byte !== 0x25 && byte !== 0x3a;
    encoded += plain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded;
}

/** Reads `key: value` lines and leading `#` lines, as in a configuration file or a backup's saved one. */
export function parseConfig(kind: 'lxc' | 'qemu', text: string): { config: GuestConfig; description?: string } {
  const config: GuestConfig = {};
  let comment = '';
  for (const line of text.split('\n')) {
    if (line.startsWith('[')) break;
    if (line.startsWith('#')) comment += `${decodeURIComponent(line.slice(1))}\n`;
    const option = /^([a-z][a-z0-9_]*):\s*(.*)$/i.exec(line);
    if (option?.[1] === undefined || option[2] === undefined) continue;
    config[option[1]] = isNumberOption(kind, option[1]) ? Number(option[2]) : option[2];
  }
  const description = comment === '' ? null : storedDescription(kind, comment);
  return description === null ? { config } : { config, description };
}
