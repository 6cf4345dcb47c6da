import { formatElapsed } from '@felhom/cli/quantity.ts';
import type { DueAnswer } from '@felhom/guest-api/schema.ts';
import { loadExistingConfig, locateConfig } from '../config.ts';
import { openAgent } from '../wiring.ts';
import type { CommandContext } from './context.ts';

/** `backup due` */
export async function backupDue(context: CommandContext): Promise<void> {
  const { config } = await loadExistingConfig(locateConfig(context.flags, context.env));
  const agent = await openAgent(config, (text) => context.reporter.say(`warning: ${text}`));
  try {
    const due = await agent.due();
    context.reporter.result({ schema: 'felhom.due/1', ...due }, () => dueText(due));
  } finally {
    await agent.close();
  }
}

/** Why (not), in words; a reason of a newer agent is printed as it is. */
const reasons: Record<string, string> = {
  never: 'there is none yet',
  overdue: 'the last one is too old',
  requested: 'the operator of the host asked for it',
  gate_open: 'the host waits for the apps right now',
  fresh: 'the last one is fresh enough',
  backoff: 'the last attempt failed, it is tried again later',
  outside_window: 'outside the window in which backups are taken',
  job_running: 'one is running',
  held: 'this guest is held on the host',
  not_configured: 'the host has no backup policy for this guest',
  storage_unreadable: 'the host cannot read the backup storage',
};

export function dueText(due: DueAnswer): string {
  const { vmid, name, node } = due.guest;
  const lines = [
    `guest ${vmid} ${name} on ${node}: a backup is ${due.due ? 'due' : 'not due'}: ${reasons[due.reason] ?? due.reason}`,
  ];
  if (due.last !== null) {
    const age = due.age_seconds === null ? '' : `, ${formatElapsed(due.age_seconds * 1_000)} ago`;
    lines.push(
      `  last               ${due.last.grade ?? 'no grade'} on ${due.last.storage}${age}`,
      `                     ${due.last.volid}`,
    );
  }
  if (due.next_due_at !== null && !due.due) lines.push(`  next               ${due.next_due_at}`);
  if (due.queue_position !== null) lines.push(`  queue              position ${due.queue_position}`);
  if (due.job_id !== undefined) lines.push(`  job                ${due.job_id}`);
  return lines.join('\n');
}
