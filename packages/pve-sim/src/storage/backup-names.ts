/** A backup's file name on storage of kind dir: `vzdump-lxc-101-2026_11_20-23_35_22.tar.zst`. */
export interface BackupName {
  file: string;
  type: 'lxc' | 'qemu';
  vmid: number;
  /** Seconds since the epoch; the name holds node-local time. */
  ctime: number;
  format: string;
}

export function stamp(at: Date): string {
  const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join('_');
  return `${day}-${[two(at.getHours()), two(at.getMinutes()), two(at.getSeconds())].join('_')}`;
}

/** As in task logs: `2026-11-20 23:35:22`, node-local. */
export function logTime(at: Date): string {
  const [day = '', time = ''] = stamp(at).split('-');
  return `${day.replaceAll('_', '-')} ${time.replaceAll('_', ':')}`;
}

export function parseBackupName(file: string): BackupName | null {
  const match =
    /^vzdump-(lxc|qemu)-(\d+)-(\d{4})_(\d\d)_(\d\d)-(\d\d)_(\d\d)_(\d\d)\.((?:tar|vma)(?:\.(?:zst|gz|lzo))?)$/.exec(
      file,
    );
  if (match === null) return null;
  const [year, month, day, hour, minute, second] = match.slice(3, 9).map(Number);
  const at = new Date(year ?? 0, (month ?? 1) - 1, day, hour, minute, second);
  return {
    file,
    type: match[1] === 'qemu' ? 'qemu' : 'lxc',
    vmid: Number(match[2]),
    ctime: Math.floor(at.getTime() / 1000),
    format: match[9] ?? 'tar',
  };
}

/** Of a PBS snapshot: `ct/101/2026-11-20T23:35:22Z`. */
export function pbsName(type: 'lxc' | 'qemu', vmid: number, at: Date): string {
  return `${type === 'lxc' ? 'ct' : 'vm'}/${vmid}/${at.toISOString().replace(/\.\d+Z$/, 'Z')}`;
}

export function parsePbsName(name: string): { type: 'lxc' | 'qemu'; vmid: number; ctime: number } | null {
  const match = /^(ct|vm)\/(\d+)\/(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)$/.exec(name);
  if (match?.[3] === undefined) return null;
  return { type: match[1] === 'vm' ? 'qemu' : 'lxc', vmid: Number(match[2]), ctime: Date.parse(match[3]) / 1000 };
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}
