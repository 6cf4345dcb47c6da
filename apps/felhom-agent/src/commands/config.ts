import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import { agentConfigSchema, guestFileSchema } from '../config.ts';
import { guestHint } from '../desired/guest-documents.ts';
import { type Loaded, loadConfig } from '../load-config.ts';
import type { CommandContext } from './context.ts';

/** `config check|show`. Secrets stand in files of their own, so that nothing here can show one. */
export async function configCommand(context: CommandContext, verb: 'check' | 'show'): Promise<void> {
  const loaded = await loadConfig(context.flags.config);
  const { file, config, guests } = loaded;
  if (verb === 'check') {
    refuseProblems(loaded);
    await checkToken(config);
    const vmids = [...guests.keys()];
    return context.reporter.result(
      { schema: 'felhom.config-check/1', file, ok: true, guests: vmids } as const,
      () => `${file} is in order, with ${vmids.length} guest(s)`,
    );
  }
  const shown = { config, guests: [...guests.values()] };
  context.reporter.result({ schema: 'felhom.config/1', file, ...shown } as const, () => JSON.stringify(shown, null, 2));
}

/** As serve will read it: by the owner of the state folder. */
async function checkToken({ state, pve }: Loaded['config']): Promise<void> {
  const [{ becomeOwnerOf }, { readSecretFile }] = await Promise.all([
    import('../own-state.ts'),
    import('@felhom/cli/secret-file.ts'),
  ]);
  await becomeOwnerOf(state);
  await readSecretFile(pve.token_file, 'the token for Proxmox VE');
}

function refuseProblems({ problems }: Loaded): void {
  if (problems.length === 0) return;
  throw new Failure('config_invalid', {
    message: [...new Set(problems.map((problem) => problem.message))].join('\n'),
    hint: `The guests of these files are left alone, the others are looked after. ${guestHint}`,
  });
}

/** `config schema`: every key of both files, or with `--guest` the schema of a guest's file alone, as editors take it. */
export function configSchemaCommand(context: CommandContext, onlyGuest: boolean): void {
  const guest = guestSchema();
  if (onlyGuest) {
    context.reporter.result({ schema: 'felhom.guest-schema/1', guest } as const, () => JSON.stringify(guest, null, 2));
    return;
  }
  const agent = z.toJSONSchema(agentConfigSchema, { io: 'input', unrepresentable: 'any' });
  const document = { schema: 'felhom.config-schema/1', agent, guest } as const;
  context.reporter.result(document, () => JSON.stringify({ agent, guest }, null, 2));
}

/** Draft 7 is what the YAML language server of editors knows for certain. */
function guestSchema() {
  const { $schema, ...schema } = z.toJSONSchema(guestFileSchema, {
    io: 'input',
    target: 'draft-7',
    unrepresentable: 'any',
  });
  return { $schema, title: 'A guest of felhom-agent: policy and desired state', ...schema };
}
