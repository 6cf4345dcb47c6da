import { readText } from '../state/files.ts';
import type { VzdumpJob, VzdumpOptions } from './job.ts';

/** The defaults of `/nodes/{node}/vzdump/defaults` that matter here (recorded). */
export const vzdumpDefaults = {
  all: 0,
  bwlimit: 0,
  compress: '0',
  fleecing: { enabled: 0 },
  ionice: 7,
  lockwait: 180,
  mailnotification: 'always',
  mode: 'snapshot',
  'notification-mode': 'auto',
  performance: { 'max-workers': 16, 'pbs-entries-max': 1_048_576 },
  pigz: 0,
  quiet: 0,
  remove: 1,
  stdexcludes: 1,
  stop: 0,
  stopwait: 10,
  zstd: 1,
} as const;

/** `key: value` lines of vzdump.conf; comments and blank lines are skipped, a missing file is empty. */
export function readVzdumpConf(path: string | null): Record<string, string> {
  const options: Record<string, string> = {};
  for (const line of (path === null ? '' : (readText(path) ?? '')).split('\n')) {
    const match = /^\s*([a-z-]+)\s*:\s*(.+?)\s*$/.exec(line);
    if (match?.[1] !== undefined && match[2] !== undefined) options[match[1]] = match[2];
  }
  return options;
}

export function resolveOptions(job: VzdumpJob): VzdumpOptions {
  const conf = readVzdumpConf(job.confFile);
  const given = (name: string): string | undefined => {
    const value = job.options[name];
    if (typeof value === 'string') return value;
    return typeof value === 'number' ? String(value) : conf[name];
  };
  const number = (name: 'lockwait' | 'stopwait' | 'bwlimit' | 'ionice'): number =>
    Number(given(name) ?? vzdumpDefaults[name]);
  const flag = (name: 'remove' | 'stdexcludes'): boolean => (given(name) ?? String(vzdumpDefaults[name])) === '1';
  return {
    mode: modeOf(given('mode')),
    storage: given('storage') ?? 'local',
    compress: compressOf(given('compress')),
    script: given('script') ?? null,
    notesTemplate: given('notes-template') ?? '',
    protected: given('protected') === '1',
    remove: flag('remove'),
    prune: typeof job.options['prune-backups'] === 'string' ? job.options['prune-backups'] : null,
    lockwaitMinutes: number('lockwait'),
    stopwaitMinutes: number('stopwait'),
    bwlimit: number('bwlimit'),
    ionice: number('ionice'),
    excludePaths: excludesOf(job.options['exclude-path']),
    stdexcludes: flag('stdexcludes'),
  };
}

function modeOf(text: string | undefined): VzdumpOptions['mode'] {
  return text === 'suspend' || text === 'stop' ? text : 'snapshot';
}

function compressOf(text: string | undefined): VzdumpOptions['compress'] {
  if (text === 'zstd' || text === 'gzip' || text === 'lzo') return text;
  return text === '1' ? 'lzo' : '0';
}

function excludesOf(value: string | number | string[] | undefined): string[] {
  if (Array.isArray(value)) return value;
  return value === undefined ? [] : [String(value)];
}
