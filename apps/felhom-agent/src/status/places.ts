import { namesIn, shortTextOf, textOf } from './quick-files.ts';

/** Where things lie, as far as `status` needs to know. */
export interface Places {
  configFile: string;
  configured: boolean;
  listen: string;
  state: string;
  socket: string;
  guests: string;
}

export const defaultPlaces = {
  listen: '127.0.0.1:8470',
  state: '/var/lib/felhom-agent',
  socket: '/run/felhom/agent.sock',
  guests: '/etc/felhom/guests.d',
};
export const defaultConfigFile = '/etc/felhom/agent.yaml';

type Named = Partial<typeof defaultPlaces>;

/** The places that the top level of a file names, without reading YAML as a whole. */
export function placesInText(text: string): Named {
  const found: Named = {};
  const line =
    /^(listen|state|socket|guests):[ \t]+(?:"([^"\\\n]+)"|'([^'\n]+)'|([^\s"'#&*!|>{[][^\n#]*?))[ \t]*(?:#.*)?\r?$/gm;
  for (const [, key, double, single, plain] of text.matchAll(line)) {
    const value = double ?? single ?? plain;
    if (value !== undefined && isPlace(key)) found[key] = value;
  }
  return found;
}

function isPlace(key: string | undefined): key is keyof Named {
  return key !== undefined && key in defaultPlaces;
}

/**
 * The places of a configuration; undefined where it is written in a way that only YAML can tell (flow
 * style, anchors): the caller then reads it as a whole.
 */
export function quickPlaces(configFile: string): Places | undefined {
  const text = textOf(configFile);
  if (text === undefined) return { configFile, configured: false, ...defaultPlaces };
  if (!isPlain(text)) return undefined;
  return { configFile, configured: true, ...defaultPlaces, ...placesInText(text) };
}

/** Whether every line at the margin is a comment or a key, and each place that is named was understood. */
function isPlain(text: string): boolean {
  const understood = placesInText(text);
  return text.split('\n').every((line) => {
    if (!/^(?:[a-z_]+:|[ \t#\r-]|$)/.test(line)) return false;
    const key = /^([a-z]+):/.exec(line)?.[1];
    return !isPlace(key) || understood[key] !== undefined;
  });
}

/** As much as is read of a file of guests; more is told by `config check`. */
const longestBytes = 4 * 2 ** 20;

/** The guests that have a file in the folder, or a document in the one file, and whether it carries the hash of a token. */
export function guestsAt(place: string): Map<number, { hasToken: boolean }> {
  const guests = new Map<number, { hasToken: boolean }>();
  for (const text of textsAt(place)) {
    const vmid = /^[{\s]*["']?vmid["']?:\s*(\d{3,9})\b/m.exec(text)?.[1];
    if (vmid !== undefined) guests.set(Number(vmid), { hasToken: /\btoken_sha256["']?:/.test(text) });
  }
  return guests;
}

function textsAt(place: string): string[] {
  const one = shortTextOf(place, longestBytes);
  if (one !== undefined) return one.split(/^---/m);
  return namesIn(place)
    .filter((name) => /^[^.].*\.ya?ml$/.test(name))
    .map((name) => shortTextOf(`${place}/${name}`, longestBytes) ?? '');
}
