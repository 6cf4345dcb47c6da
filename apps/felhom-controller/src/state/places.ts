import { textOf } from './quick-files.ts';

export const defaultConfigFile = '/etc/felhom/controller.yaml';
export const defaultStateDir = '/var/lib/felhom';
export const defaultRunDir = '/run/felhom';

/** The places of state as the top level of a file names them, without reading YAML as a whole. */
export function placesInText(text: string): { state_dir?: string; run_dir?: string } {
  const places: { state_dir?: string; run_dir?: string } = {};
  const line = /^(state_dir|run_dir):[ \t]+(?:"([^"\\\n]+)"|'([^'\n]+)'|(\/[\w./@+-]*))(?:[ \t]+#.*|[ \t]*)\r?$/gm;
  for (const [, key, double, single, plain] of text.matchAll(line)) {
    const value = double ?? single ?? plain;
    if (value?.startsWith('/') !== true) continue;
    if (key === 'state_dir') places.state_dir = value;
    else places.run_dir = value;
  }
  return places;
}

export interface Places {
  configFile: string;
  configured: boolean;
  stateDir: string;
  runDir: string;
}

/**
 * Where state lies, by flag over environment over file, for `status`. Undefined where the file is written
 * in a way that only YAML can tell (flow style, anchors): the caller then reads it as a whole.
 */
export function quickPlaces(
  flags: { config?: string | undefined; stateDir?: string | undefined },
  env: NodeJS.ProcessEnv,
): Places | undefined {
  const configFile = absolute(flags.config ?? nonEmpty(env['FELHOM_CONFIG']) ?? defaultConfigFile);
  const text = textOf(configFile);
  if (text !== undefined && !isPlain(text)) return undefined;
  const named = placesInText(text ?? '');
  const stateDir = flags.stateDir ?? nonEmpty(env['FELHOM_STATE_DIR']) ?? named.state_dir ?? defaultStateDir;
  const runDir = nonEmpty(env['FELHOM_RUN_DIR']) ?? named.run_dir ?? defaultRunDir;
  return { configFile, configured: text !== undefined, stateDir: absolute(stateDir), runDir };
}

/** Whether every line at the margin is a comment or a key of ours, and a place that is named was understood. */
function isPlain(text: string): boolean {
  const understood = placesInText(text);
  return text.split('\n').every((line) => {
    if (!/^(?:[a-z_]+:|[ \t#\r-]|$)/.test(line)) return false;
    const place = /^(state_dir|run_dir):/.exec(line)?.[1];
    return place === undefined || (place === 'state_dir' ? understood.state_dir : understood.run_dir) !== undefined;
  });
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}

function absolute(path: string): string {
  return path.startsWith('/') ? path : `${process.cwd()}/${path}`;
}
