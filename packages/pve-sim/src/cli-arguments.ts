import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { noDelays, recordedDelays } from './delays.ts';
import type { GuestCommands, GuestSpec, PveSimOptions, StorageSpec } from './options.ts';

const tokenFile = z.array(
  z.object({ id: z.string(), secret: z.string(), privileges: z.record(z.string(), z.array(z.string())) }),
);

const guestKeys = [
  'kind',
  'name',
  'stopped',
  'absent',
  'snapshots',
  'config',
  'start',
  'stop',
  'freeze',
  'thaw',
  'freezer',
];
const storageKeys = ['kind', 'prune', 'inactive', 'content'];

/** The command line of `pve-sim`. Throws an Error whose text says what is wrong and what was expected. */
export function readArguments(argv: readonly string[], base: string): PveSimOptions {
  const { values } = parseArgs({
    args: argv[0] === '--' ? argv.slice(1) : [...argv],
    options: {
      listen: { type: 'string', default: '127.0.0.1:0' },
      state: { type: 'string' },
      node: { type: 'string', default: 'pve1' },
      cluster: { type: 'string' },
      guest: { type: 'string', multiple: true, default: [] },
      storage: { type: 'string', multiple: true, default: [] },
      'vzdump-conf': { type: 'string' },
      'auth-delay-ms': { type: 'string', default: '3000' },
      delays: { type: 'string', default: 'recorded' },
      tokens: { type: 'string' },
    },
  });
  if (values.state === undefined)
    throw new Error('--state DIR is missing: the folder that keeps guests, tasks and the certificate');
  if (values.delays !== 'recorded' && values.delays !== 'none')
    throw new Error(`--delays is "recorded" or "none", not "${values.delays}"`);
  const authDelayMs = Number(values['auth-delay-ms']);
  if (!Number.isInteger(authDelayMs) || authDelayMs < 0) throw new Error('--auth-delay-ms is a number of milliseconds');
  const conf = values['vzdump-conf'];
  const tokens =
    values.tokens === undefined
      ? {}
      : { tokens: tokenFile.parse(JSON.parse(readFileSync(resolve(base, values.tokens), 'utf8'))) };
  return {
    listen: values.listen,
    state: resolve(base, values.state),
    node: values.node,
    guests: values.guest.flatMap((text) => parseGuests(text, base)),
    storages: values.storage.map((text) => parseStorage(text, base)),
    delays: values.delays === 'recorded' ? recordedDelays : noDelays,
    authDelayMs,
    ...(values.cluster === undefined ? {} : { cluster: resolve(base, values.cluster) }),
    ...(conf === undefined ? {} : { vzdumpConf: resolve(base, conf) }),
    ...tokens,
  };
}

/** One guest, or as many as `1000-1999=DIR[,…]` says, which share a folder: good for lists and configurations, not for backups. */
function parseGuests(text: string, base: string): GuestSpec[] {
  const range = /^([1-9]\d{2,8})-([1-9]\d{2,8})(=.*)$/s.exec(text);
  if (range === null) return [parseGuest(text, base)];
  const [first, last] = [Number(range[1]), Number(range[2])];
  if (last < first) throw new Error(`--guest ${text}: ${last} comes before ${first}`);
  return Array.from({ length: last - first + 1 }, (_, at) => parseGuest(`${first + at}${range[3]}`, base));
}

/** `101=DIR[,kind=qemu][,name=N][,stopped][,start=CMD]…`; a command may hold commas, as long as no known key follows one. */
export function parseGuest(text: string, base: string): GuestSpec {
  const { id, dir, options } = splitSpec(text, guestKeys, '--guest 101=DIR[,kind=qemu][,name=NAME][,stopped]…');
  if (!/^[1-9]\d{2,8}$/.test(id)) throw new Error(`--guest ${text}: "${id}" is no VMID (100 and up)`);
  const config = options.get('config');
  const commands: GuestCommands = {};
  for (const key of ['start', 'stop', 'freeze', 'thaw'] as const) {
    const command = options.get(key);
    if (command !== undefined) commands[key] = command;
  }
  const freezer = options.get('freezer');
  if (freezer !== undefined) commands.freezer = resolve(base, freezer);
  const name = options.get('name');
  return {
    vmid: Number(id),
    dir: resolve(base, dir),
    kind: options.get('kind') === 'qemu' ? 'qemu' : 'lxc',
    running: !options.has('stopped'),
    absent: options.has('absent'),
    snapshots: options.get('snapshots') !== 'no',
    commands,
    ...(name === undefined ? {} : { name }),
    ...(config === undefined ? {} : { config: readFileSync(resolve(base, config), 'utf8') }),
  };
}

/** `bk=DIR[,kind=pbs][,prune=keep-last=3][,inactive]` */
export function parseStorage(text: string, base: string): StorageSpec {
  const { id, dir, options } = splitSpec(
    text,
    storageKeys,
    '--storage bk=DIR[,kind=pbs][,prune=keep-last=3][,inactive]',
  );
  const [prune, content] = [options.get('prune'), options.get('content')];
  return {
    id,
    dir: resolve(base, dir),
    kind: options.get('kind') === 'pbs' ? 'pbs' : 'dir',
    active: !options.has('inactive'),
    ...(prune === undefined ? {} : { prune }),
    ...(content === undefined ? {} : { content }),
  };
}

function splitSpec(
  text: string,
  keys: readonly string[],
  usage: string,
): { id: string; dir: string; options: Map<string, string> } {
  const match = /^([^=]+)=(.+)$/s.exec(text);
  if (match === null) throw new Error(`"${text}" is not understood; expected ${usage}`);
  const pieces = (match[2] ?? '').split(new RegExp(`,(?=(?:${keys.join('|')})(?:=|,|$))`));
  const options = new Map<string, string>();
  for (const piece of pieces.slice(1)) {
    const at = piece.indexOf('=');
    options.set(at < 0 ? piece : piece.slice(0, at), at < 0 ? '' : piece.slice(at + 1));
  }
  return { id: match[1] ?? '', dir: pieces[0] ?? '', options };
}
