import type { Command } from 'commander';
import type { CommandContext } from '../commands/context.ts';

/** `alert …` */
export function addAlert(program: Command, context: () => CommandContext): void {
  const alert = program.command('alert').description('what a person has to know, kept until somebody has said so');
  alert
    .command('list')
    .description('list the alerts that nobody has acknowledged, newest first')
    .option('--all', 'acknowledged ones too')
    .addHelpText('after', '\nExamples:\n  felhom-controller alert list')
    .action(async (options: { all?: boolean }) => {
      const { alertList } = await import('../commands/alert.ts');
      await alertList(context(), { all: options.all === true });
    });
  alert
    .command('ack')
    .description('acknowledge an alert: status is silent about it from then on')
    .argument('[id]', "the alert's id, or its beginning (default: all that are open)")
    .addHelpText('after', '\nExamples:\n  felhom-controller alert ack 20261120T0100')
    .action(async (id: string | undefined) => {
      const { alertAck } = await import('../commands/alert.ts');
      await alertAck(context(), id ?? null);
    });
}
