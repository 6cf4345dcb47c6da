import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import { loadAgentConfig } from '../load-config.ts';
import type { CommandContext } from './context.ts';
import { askServe } from './host-client.ts';

export const guestRow = z.object({
  vmid: z.number(),
  name: z.string(),
  here: z.boolean(),
  running: z.boolean().nullable(),
  has_token: z.boolean(),
  calling: z.boolean(),
  generation: z.number(),
  refused: z.object({ reason: z.string(), generation: z.number(), at: z.string() }).nullable(),
  held: z.string().nullable(),
  storages: z.array(z.string()),
});
type GuestRow = z.output<typeof guestRow>;

async function guests(context: CommandContext): Promise<GuestRow[]> {
  const { config } = await loadAgentConfig(context.flags.config);
  const answer = await askServe(config.socket, {
    method: 'GET',
    path: '/host/guests',
    answer: z.object({ guests: z.array(guestRow) }),
    timeoutMs: 60_000,
  });
  return answer.guests;
}

/** `guest list` */
export async function guestList(context: CommandContext): Promise<void> {
  const rows = await guests(context);
  context.reporter.result(
    { schema: 'felhom.guests/1', guests: rows },
    () => rows.map(line).join('\n') || 'no guest is known: felhom-agent guest adopt VMID --token-out FILE',
  );
}

/** `guest show VMID` */
export async function guestShow(context: CommandContext, vmid: number): Promise<void> {
  const row = (await guests(context)).find((each) => each.vmid === vmid);
  if (row === undefined) {
    throw new Failure('unknown_guest', {
      message: `guest ${vmid} has neither a token nor a file in guests.d`,
      hint: `felhom-agent guest adopt ${vmid} --token-out FILE`,
    });
  }
  context.reporter.result(
    { schema: 'felhom.guest/1', ...row },
    () => `${line(row)}\n  generation ${row.generation}, backups on: ${row.storages.join(', ') || 'nowhere'}`,
  );
}

export function line(row: GuestRow): string {
  const state = row.here ? (row.running === true ? 'running' : 'stopped') : 'not on this node';
  const watcher = row.has_token ? (row.calling ? 'controller calling' : 'controller silent') : 'no token';
  const refused = row.refused === null ? '' : `; REFUSED (${row.refused.reason}): felhom-agent guest adopt ${row.vmid}`;
  return `${row.vmid} ${row.name}: ${state}, ${watcher}${row.held === null ? '' : `, held: ${row.held}`}${refused}`;
}
