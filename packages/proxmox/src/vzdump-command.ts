import { tryVmid, type Vmid } from './upid.ts';
import type { VzdumpMode } from './vzdump.ts';

/** The command that a vzdump job repeats in its log: the one place that tells what was asked for. */
export interface JobCommand {
  /** The line as it stands, for the search of marks. */
  text: string;
  vmids: readonly Vmid[];
  /** null where the job uses the node's default. */
  storage: string | null;
  /** null where the job uses the node's default. */
  requestedMode: VzdumpMode | null;
  notesTemplate: string | null;
  all: boolean;
}

/** The command in `text`, or null where it is another line. */
export function readJobCommand(text: string): JobCommand | null {
  const match = /^INFO: starting new backup job: vzdump(?: (.*))?$/s.exec(text);
  if (match === null) return null;
  const words = splitShellWords(match[1] ?? '');
  const option = (name: string): string | null => {
    const at = words.indexOf(`--${name}`);
    return at < 0 ? null : (words[at + 1] ?? null);
  };
  const firstOption = words.findIndex((word) => word.startsWith('--'));
  const vmids = words.slice(0, firstOption < 0 ? words.length : firstOption).map(tryVmid);
  return {
    text,
    vmids: vmids.filter((vmid) => vmid !== null),
    storage: option('storage'),
    requestedMode: asMode(option('mode')),
    notesTemplate: option('notes-template'),
    all: option('all') === '1',
  };
}

export function asMode(text: string | null | undefined): VzdumpMode | null {
  return text === 'snapshot' || text === 'suspend' || text === 'stop' ? text : null;
}

/** Words as PVE quotes them (String::ShellQuote: single quotes, `'\''` for one inside). */
export function splitShellWords(text: string): string[] {
  const words: string[] = [];
  const word = /\s*((?:'[^']*'|"(?:[^"\\]|\\.)*"|\\.|[^\s'"\\])+)/gsy;
  for (let match = word.exec(text); match !== null; match = word.exec(text)) {
    words.push(
      (match[1] ?? '').replaceAll(
        /'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)/gs,
        (_all, single?: string, double?: string, escaped?: string) => {
          return single ?? double?.replaceAll(/\\(.)/gs, '$1') ?? escaped ?? '';
        },
      ),
    );
  }
  return words;
}
