import type { Output } from '@felhom/cli/output.ts';
import { createReporter } from '@felhom/cli/reporter.ts';
import { Command } from 'commander';
import type { CommandContext } from './commands/context.ts';
import { addBackup } from './program/backup.ts';
import { addConfig } from './program/config.ts';
import { addGuest } from './program/guest.ts';
import { addServe, addStatus } from './program/service.ts';
import { everyCommand } from './program/words.ts';

export interface ProgramOptions {
  setExit: (code: number) => void;
  env?: NodeJS.ProcessEnv;
  stdout?: Output;
  stderr?: Output;
}

/** The command line. Each action loads its own command; nothing but words stands here. */
export function buildProgram(options: ProgramOptions): Command {
  const program = new Command('felhom-agent')
    .description(
      'Takes backups of the guests of this Proxmox VE host that are worth restoring, together with felhom-controller in each guest.',
    )
    .version('0.1.0')
    .option('--json', 'print one JSON object on stdout')
    .option('--config <file>', 'configuration file (FELHOM_CONFIG; default /etc/felhom/agent.yaml)')
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', exitCodes);
  const context = (): CommandContext => createContext(program.opts(), options);
  addServe(program, context);
  addBackup(program, context);
  addGuest(program, context);
  addStatus(program, context);
  addConfig(program, context);
  for (const command of everyCommand(program)) command.configureHelp({ showGlobalOptions: true });
  return program;
}

const exitCodes = `
Exit codes:
  0 done   1 a bug of ours   2 usage or configuration   3 the backup failed, apps are running
  5 done, but less than asked (crash-consistent)   6 status --check: something needs attention
  10 no serve on the socket, or PVE unreachable   11 busy   12 refused   13 refused by policy
  130/143 interrupted; a job under way goes on`;

function createContext(flags: { json?: boolean; config?: string }, options: ProgramOptions): CommandContext {
  const env = options.env ?? process.env;
  const json = flags.json === true;
  const { stdout, stderr } = options;
  const reporter = createReporter({
    json,
    ...(stdout === undefined ? {} : { stdout }),
    ...(stderr === undefined ? {} : { stderr }),
  });
  return {
    reporter,
    flags: { config: flags.config ?? env['FELHOM_CONFIG'] },
    env,
    setExit: options.setExit,
    openLog: async () => {
      const { chooseLogForm, openLog } = await import('@felhom/cli/log.ts');
      return await openLog({
        form: chooseLogForm({ env, json, isTerminal: reporter.display.isTerminal }),
        level: env['FELHOM_LOG'],
      });
    },
  };
}
