import { formatElapsed } from '@felhom/cli/quantity.ts';
import { inStack } from './names.ts';
import type { Status } from './status.ts';

/** The status as a person reads it. */
export function statusText(seen: Status): string {
  const row = (label: string, text: string): string => `  ${label.padEnd(19)}${text}`;
  const title = seen.configured
    ? `felhom-controller, configured by ${seen.config_file}`
    : `felhom-controller is not configured: there is no ${seen.config_file}`;
  const apps = {
    fine: 'nothing is owed',
    'stopped for a run': 'stopped for the run below',
    owed: `DOWN since an interrupted run: ${downWords(seen)}`,
    unknown: 'UNKNOWN: the marker cannot be read',
  };
  const lines = [title, row('apps', apps[seen.apps])];
  if (seen.run !== null)
    lines.push(
      row(
        'running now',
        `${seen.run.what} (pid ${seen.run.pid})${seen.run.run_id === null ? '' : `, run ${seen.run.run_id}`}`,
      ),
    );
  if (seen.last_run !== null) {
    const { started_at, outcome, grade } = seen.last_run;
    lines.push(row('last run', `${outcome ?? 'not ended'}${grade === null ? '' : `, ${grade}`}, ${ago(started_at)}`));
  }
  if (seen.last_backup !== null)
    lines.push(row('last backup', `${ago(seen.last_backup.started_at)}, ${seen.last_backup.volid ?? 'no volid'}`));
  if (seen.configured && seen.last_run === null) lines.push(row('last run', 'none yet'));
  if (seen.live !== undefined)
    lines.push(row('docker', seen.live.docker), row('agent', seen.live.agent), row('due', dueWord(seen.live.due)));
  for (const { stack, phase, updated_at: at } of seen.upgrades)
    lines.push(row(`upgrade ${stack}`, `${phase}${at === null ? '' : `, ${ago(at)}`}`));
  for (const reason of seen.attention) lines.push(row('ATTENTION', reason));
  if (!seen.configured)
    lines.push(
      '  Write a configuration that names the agent of the host; felhom-controller config schema tells every key.',
    );
  return lines.join('\n');
}

function dueWord(due: boolean | null): string {
  return due === null ? 'unknown' : due ? 'yes' : 'no';
}

function ago(at: string): string {
  return `${formatElapsed(Math.max(0, Date.now() - Date.parse(at)))} ago`;
}

function downWords({ owed, unfinished }: Status): string {
  const containers = owed.map(({ stack, container }) => inStack(stack, container));
  return [...containers, ...unfinished.map(({ kind, stack }) => `${stack} (${kind})`)].join(', ');
}
