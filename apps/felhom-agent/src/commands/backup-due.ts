import { formatElapsed } from '@felhom/cli/quantity.ts';
import { type DueAnswer, dueAnswer } from '@felhom/guest-api/schema.ts';
import { z } from 'zod';
import { loadAgentConfig } from '../load-config.ts';
import type { CommandContext } from './context.ts';
import { askServe } from './host-client.ts';

/** `backup due`: what serve answers the guests. */
export async function backupDue(context: CommandContext, vmids: readonly number[]): Promise<void> {
  const { config } = await loadAgentConfig(context.flags.config);
  const query = vmids.map((vmid) => `vmid=${vmid}`).join('&');
  const path = `/host/backup/due${query === '' ? '' : `?${query}`}`;
  const { guests } = await askServe(config.socket, {
    method: 'GET',
    path,
    answer: z.object({ guests: z.array(dueAnswer) }),
    timeoutMs: 120_000,
  });
  context.reporter.result(
    { schema: 'felhom.due/1', guests },
    () => guests.map(line).join('\n') || 'no guest is known: felhom-agent guest adopt VMID --token-out FILE',
  );
}

function line({ guest, due, reason, age_seconds: age, next_due_at: next, last }: DueAnswer): string {
  const newest =
    last === null
      ? 'no backup'
      : `newest ${age === null ? '' : `${formatElapsed(age * 1000)} old, `}${last.grade ?? 'not ours'}, on ${last.storage}`;
  return `guest ${guest.vmid} ${guest.name}: ${due ? 'due' : 'not due'} (${reason}); ${newest}${next === null || due ? '' : `; next ${next}`}`;
}
