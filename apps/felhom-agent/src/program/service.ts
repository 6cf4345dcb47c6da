import type { Command } from 'commander';
import { type ContextOf, example } from './words.ts';

export function addServe(program: Command, context: ContextOf): void {
  program
    .command('serve')
    .description('answer the guests and the vzdump hook, and drive backups; this is what the service runs')
    .addHelpText('after', example('felhom-agent serve'))
    .action(async () => {
      const { serveCommand } = await import('../commands/serve.ts');
      await serveCommand(context());
    });
}

export function addStatus(program: Command, context: ContextOf): void {
  program
    .command('status')
    .description('tell what this agent knows; reads state only')
    .option('--check', 'exit 6 when something needs attention')
    .option('--live', 'ask serve and PVE too')
    .addHelpText('after', example('felhom-agent status --check --live'))
    .action(async (flags: { check?: boolean; live?: boolean }) => {
      const { status } = await import('../commands/status.ts');
      await status(context(), { check: flags.check === true, live: flags.live === true });
    });
}
