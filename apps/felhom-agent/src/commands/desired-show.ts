import { troublesOf } from '../desired/settle-document.ts';
import { loadAgentConfig, loadConfig } from '../load-config.ts';
import { becomeOwnerOf } from '../own-state.ts';
import type { CommandContext } from './context.ts';
import { notConfigured } from './desired-verify.ts';

/** `desired show`: the signed document in force, and what is wrong with its server. Reads state only. */
export async function desiredShow(context: CommandContext): Promise<void> {
  const { config } = await loadAgentConfig(context.flags.config);
  const { guests_document: source, state } = config;
  if (source === undefined) throw notConfigured();
  await becomeOwnerOf(state);
  const { guests } = await loadConfig(context.flags.config);
  const { keptIn } = await import('../desired/wiring.ts');
  const { kept, agentId } = await keptIn(state);
  const troubles = troublesOf(kept, source.url, Date.now());
  const { document } = kept;
  const inForce =
    document === null ? null : { ...document, envelope: undefined, etag: undefined, accepted_ms: undefined };
  const vmids = [...guests.keys()];
  context.reporter.result(
    {
      schema: 'felhom.desired/1',
      agent: agentId,
      url: source.url,
      in_force: inForce,
      guests: vmids,
      troubles,
    } as const,
    () =>
      [
        `agent     ${agentId}`,
        `server    ${source.url}`,
        document === null
          ? 'in force  nothing yet: guests stay as they are'
          : `in force  serial ${document.serial}, accepted ${document.accepted_at}, good until ${document.expires}, signed by ${document.key_ids.join(', ')}`,
        `guests    ${vmids.length === 0 ? 'none' : vmids.join(', ')}`,
        ...troubles.map((text) => `ATTENTION ${text}`),
      ].join('\n'),
  );
}
