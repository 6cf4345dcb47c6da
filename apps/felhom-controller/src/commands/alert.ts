import { Failure } from '@felhom/kernel/failure.ts';
import type { Alert } from '../alerts/alert.ts';
import { alertStore } from '../alerts/alert-store.ts';
import { loadConfig, locateConfig } from '../config.ts';
import { clock } from '../wiring.ts';
import type { CommandContext } from './context.ts';

/** `alert list`: what a person has to know; with `all`, what somebody has acknowledged too. */
export async function alertList(context: CommandContext, { all }: { all: boolean }): Promise<void> {
  const store = await openStore(context);
  const alerts = all ? await store.list() : await store.open();
  context.reporter.result({ schema: 'felhom.alerts/1', alerts }, () =>
    alerts.length === 0 ? 'there are no alerts' : alerts.map(text).join('\n'),
  );
}

/** `alert ack ID`, or every one: from then on `status` is silent about it. */
export async function alertAck(context: CommandContext, id: string | null): Promise<void> {
  const store = await openStore(context);
  const at = new Date(clock.nowMs()).toISOString();
  const ids = id === null ? (await store.open()).map((each) => each.id) : [id];
  if (id === null && ids.length === 0) {
    throw new Failure('not_found', {
      message: 'there is no alert to acknowledge; nothing was changed',
      hint: 'felhom-controller alert list --all shows those of the past.',
    });
  }
  const acked: Alert[] = [];
  for (const each of ids) acked.push(await store.acknowledge(each, at));
  context.reporter.result({ schema: 'felhom.alert-ack/1', acked }, () =>
    acked.map((each) => `acknowledged: ${each.message}`).join('\n'),
  );
}

async function openStore({ flags, env }: CommandContext): Promise<ReturnType<typeof alertStore>> {
  const { config } = await loadConfig(locateConfig(flags, env));
  return alertStore({ stateDir: config.state_dir });
}

function text({ id, at, message, hint, attempted, last_good: lastGood, acked_at: ackedAt }: Alert): string {
  return [
    `${id}  ${at}${ackedAt === null ? '' : `  (acknowledged ${ackedAt})`}`,
    `  ${message}`,
    `  attempted          ${attempted}`,
    `  last good          ${lastGood}`,
    `  ${hint}`,
    ...(ackedAt === null ? [`  felhom-controller alert ack ${id}`] : []),
  ].join('\n');
}
