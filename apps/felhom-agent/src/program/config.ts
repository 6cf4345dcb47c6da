import type { Command } from 'commander';
import { type ContextOf, example } from './words.ts';

export function addConfig(program: Command, context: ContextOf): void {
  const config = program.command('config').description('the configuration');
  for (const verb of ['check', 'show'] as const) {
    config
      .command(verb)
      .description(
        {
          check: 'read the files and the token, and name every mistake',
          show: 'print what is in force, defaults included',
        }[verb],
      )
      .addHelpText('after', example(`felhom-agent config ${verb}`))
      .action(async () => {
        const commands = await import('../commands/config.ts');
        await commands.configCommand(context(), verb);
      });
  }
  config
    .command('schema')
    .description('print every key as a JSON schema')
    .option('--guest', "the schema of a guest's file alone, for editors")
    .addHelpText('after', example('felhom-agent config schema --guest > guest.schema.json'))
    .action(async (flags: { guest?: boolean }) => {
      const commands = await import('../commands/config.ts');
      commands.configSchemaCommand(context(), flags.guest === true);
    });
}
