import { readFileSync } from 'node:fs';
import { basename } from 'node:path';

/**
 * The script that vzdump calls in every job of the node: the last `script:` line of vzdump.conf, or
 * null. A commented line is none.
 */
export function hookScript(vzdumpConf: string): string | null {
  let script: string | null = null;
  for (const line of vzdumpConf.split('\n')) {
    const match = /^\s*script\s*:\s*(\S.*?)\s*$/.exec(line);
    if (match?.[1] !== undefined) script = match[1];
  }
  return script;
}

/** Whether `script` is our hook: the configured path, or a file of our hook's name. */
export function isOurHook(script: string | null, hook: string): boolean {
  if (script === null) return false;
  const names = new Set([basename(hook), 'felhom-vzdump-hook']);
  return script === hook || names.has(basename(script));
}

/** Which gate a job that starts now gets. The file is read anew each time: it may change while we run. */
export function chooseGate(config: {
  gate: 'auto' | 'hook' | 'log';
  vzdump_conf: string;
  hook: string;
}): 'hook' | 'log' {
  if (config.gate !== 'auto') return config.gate;
  return isOurHook(hookScript(readIfAny(config.vzdump_conf)), config.hook) ? 'hook' : 'log';
}

/** A file that is absent or may not be read names no hook. */
function readIfAny(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
