import { z } from 'zod';
import { agentConfigSchema, guestFileSchema } from '../config.ts';
import { loadConfig } from '../load-config.ts';
import type { CommandContext } from './context.ts';

/** `config check|show|schema`. Secrets stand in files of their own, so that nothing here can show one. */
export async function configCommand(context: CommandContext, verb: 'check' | 'show' | 'schema'): Promise<void> {
  if (verb === 'schema') {
    const agent = z.toJSONSchema(agentConfigSchema, { io: 'input', unrepresentable: 'any' });
    const guest = z.toJSONSchema(guestFileSchema, { io: 'input', unrepresentable: 'any' });
    const document = { schema: 'felhom.config-schema/1', agent, guest } as const;
    return context.reporter.result(document, () => JSON.stringify({ agent, guest }, null, 2));
  }
  const { file, config, guests } = await loadConfig(context.flags.config);
  if (verb === 'check') {
    const vmids = [...guests.keys()];
    return context.reporter.result(
      { schema: 'felhom.config-check/1', file, ok: true, guests: vmids } as const,
      () => `${file} is in order, with ${vmids.length} guest(s)`,
    );
  }
  const shown = { config, guests: [...guests.values()] };
  context.reporter.result({ schema: 'felhom.config/1', file, ...shown } as const, () => JSON.stringify(shown, null, 2));
}
