import { readComplaint } from './failure-text.ts';
import { parseSize } from './size.ts';
import type { LogLine } from './tasks.ts';
import { asMode } from './vzdump-command.ts';
import type { ExcludedMount, GuestLog, Mount } from './vzdump-log.ts';
import { isProof, nextCapture } from './vzdump-proof.ts';

type Change = (guest: GuestLog, match: RegExpExecArray, storage: string | null) => Partial<GuestLog>;

/**
 * What each line of a guest's block says, by the texts of VZDump.pm, VZDump/LXC.pm,
 * VZDump/QemuServer.pm and the backup client of PBS. First match wins; unknown lines say nothing.
 */
const lines: readonly (readonly [RegExp, Change])[] = [
  [/^INFO: status = (\S+)/, (_, match) => ({ running: match[1] === 'running' })],
  [/^INFO: (?:CT|VM) Name: (.*)$/, (_, match) => ({ name: match[1] ?? null })],
  [/^INFO: backup mode: (\w+)$/, (_, match) => ({ mode: asMode(match[1]) })],
  [/^INFO: mode failure - (.*)$/, (_, match) => ({ fallback: { to: 'suspend', why: match[1] ?? '' } })],
  [
    /^INFO: trying '(\w+)' mode instead$/,
    ({ fallback }, match) => ({ fallback: { to: asMode(match[1]) ?? 'suspend', why: fallback?.why ?? '' } }),
  ],
  [/^INFO: including mount point (\S+) \('(.*)'\) in backup/, (guest, match) => include(guest, match)],
  [/^INFO: include disk '([^']+)' '([^']*)'/, (guest, match) => include(guest, match)],
  [
    /^INFO: excluding (.+) mount point (\S+) \('(.*)'\) from backup \((.*)\)/,
    (guest, match) => excludeMount(guest, match),
  ],
  [/^INFO: exclude disk '([^']+)' '([^']*)' \((.*)\)/, (guest, match) => excludeDisk(guest, match)],
  [/^INFO: creating .+ archive '(.+)'$/, (_, match, storage) => archive(match[1] ?? '', storage)],
  [
    /^INFO:\s+(\d+)% \(([^)]*)\)/,
    (_, match) => ({ progress: { percent: Number(match[1]), bytes: readBytes(match[2]) } }),
  ],
  [
    /^INFO: processed ([\d.]+ ?\w+) in /,
    (guest, match) => ({ progress: { ...guest.progress, bytes: parseSize(match[1] ?? '') } }),
  ],
  [/^INFO: Total bytes written: (\d+)/, (guest, match) => ({ sizes: { ...guest.sizes, dataBytes: Number(match[1]) } })],
  [
    /^INFO: transferred ([\d.]+ \w+) in /,
    (guest, match) => ({ sizes: { ...guest.sizes, dataBytes: parseSize(match[1] ?? '') } }),
  ],
  [
    /^INFO: archive file size: (\S+)/,
    (guest, match) => ({ sizes: { ...guest.sizes, archiveBytes: parseSize(match[1] ?? '') } }),
  ],
  [/^INFO: \S+\.pxar: had to (?:backup|upload) ([\d.]+ \w+) of ([\d.]+ \w+)/, (guest, match) => pbsSizes(guest, match)],
  [/^INFO: adding notes to backup$/, () => ({ notes: 'added' })],
  [
    /^WARN: (unable to add notes.*)$/,
    (guest, match) => ({ notes: 'failed', warnings: [...guest.warnings, match[1] ?? ''] }),
  ],
  [
    /^INFO: prune older backups with retention: (.*)$/,
    ({ prune }, match) => ({ prune: { ...prune, retention: match[1] ?? '' } }),
  ],
  [
    /^INFO: removing backup '(.*)'$/,
    ({ prune }, match) => ({ prune: { ...prune, removed: [...prune.removed, match[1] ?? ''] } }),
  ],
  [/^INFO: stopping (?:virtual guest|vm)$/, () => ({ downtime: { kind: 'stopped', backOnline: false } })],
  [/^INFO: (?:suspending guest|suspend vm)/, () => ({ downtime: { kind: 'suspended', backOnline: false } })],
  [
    /^INFO: (?:guest is online again after|resuming VM again)/,
    ({ downtime }) => ({ downtime: { ...downtime, backOnline: true } }),
  ],
  [/^INFO: Finished Backup of VM \d+ \((?:(\d+):)?(\d+):(\d+)\)$/, (_, match) => finished(match)],
  [/^WARN(?:ING)?: (.*)$/s, (guest, match) => ({ warnings: [...guest.warnings, match[1] ?? ''] })],
];

/** The guest's block after `line`. `storage` is the job's, for the volid. */
export function readGuestLine(guest: GuestLog, line: LogLine, storage: string | null): GuestLog {
  const { text } = line;
  const proven =
    guest.proof === null && isProof(guest, text) ? { proof: { line: line.n, text }, capture: 'proven' as const } : null;
  const capture = proven === null ? { capture: nextCapture(guest, text) } : proven;
  for (const [pattern, change] of lines) {
    const match = pattern.exec(text);
    if (match !== null) return { ...guest, ...capture, ...change(guest, match, storage) };
  }
  const complaint = readComplaint(text) ?? guest.complaint;
  return { ...guest, ...capture, complaint };
}

function include(guest: GuestLog, match: RegExpExecArray): Partial<GuestLog> {
  return { included: addMount(guest.included, { mount: match[1] ?? '', target: match[2] ?? '' }) };
}

function excludeMount(guest: GuestLog, match: RegExpExecArray): Partial<GuestLog> {
  const [, kind = '', mount = '', target = '', why = ''] = match;
  return { excluded: addMount(guest.excluded, { mount, target, why: exclusionReason(kind, why) }) };
}

function excludeDisk(guest: GuestLog, match: RegExpExecArray): Partial<GuestLog> {
  const [, mount = '', target = '', why = ''] = match;
  return { excluded: addMount(guest.excluded, { mount, target, why: exclusionReason('disk', why) }) };
}

/** PVE's reason in the operator's words; a reason that we do not know stays as it is. */
function exclusionReason(kind: string, why: string): string {
  if (kind === 'bind') return 'bind mount of the host';
  if (kind === 'device') return 'device of the host';
  if (why === 'disabled' || why === 'backup=no') return `backup is switched off for this ${kind}`;
  return `${kind}: ${why}`;
}

/** A job that falls back to another mode says its mounts twice. */
function addMount<T extends Mount | ExcludedMount>(list: readonly T[], mount: T): readonly T[] {
  return [...list.filter((other) => other.mount !== mount.mount), mount];
}

/** The volid is `<storage>:backup/<file name>`, on PBS `<storage>:backup/<snapshot>`. */
function archive(path: string, storage: string | null): Partial<GuestLog> {
  const name = path.startsWith('/') ? path.slice(path.lastIndexOf('/') + 1) : path;
  return { archive: path, volid: storage === null ? null : `${storage}:backup/${name}` };
}

/** `1.2 GiB of 32.0 GiB` of a progress line: what was read so far. */
function readBytes(text: string | undefined): number | null {
  return parseSize(text?.split(' of ')[0] ?? '');
}

/** One line an archive: a container with mount points has several. */
function pbsSizes({ sizes }: GuestLog, match: RegExpExecArray): Partial<GuestLog> {
  const sum = (a: number | null, b: number | null): number | null =>
    a === null && b === null ? null : (a ?? 0) + (b ?? 0);
  return {
    sizes: {
      archiveBytes: sum(sizes.archiveBytes, parseSize(match[1] ?? '')),
      dataBytes: sum(sizes.dataBytes, parseSize(match[2] ?? '')),
    },
  };
}

function finished(match: RegExpExecArray): Partial<GuestLog> {
  const [, hours = '0', minutes = '0', seconds = '0'] = match;
  return {
    capture: 'ended',
    result: { kind: 'finished', seconds: Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds) },
  };
}
