import type { Output } from '@felhom/cli/output.ts';
import { createReporter } from '@felhom/cli/reporter.ts';
import { Command, InvalidArgumentError } from 'commander';
import type { CommandContext } from './commands/context.ts';

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

type ContextOf = () => CommandContext;

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

function addServe(program: Command, context: ContextOf): void {
  program
    .command('serve')
    .description('answer the guests and the vzdump hook, and drive backups; this is what the service runs')
    .addHelpText('after', example('felhom-agent serve'))
    .action(async () => {
      const { serveCommand } = await import('./commands/serve.ts');
      await serveCommand(context());
    });
}

function addBackup(program: Command, context: ContextOf): void {
  const backup = program.command('backup').description('take backups, and look at them');
  backup
    .command('now')
    .description("ask the guests' controllers for a backup now, and follow it to its end")
    .argument('[vmid...]', 'guests', vmidList)
    .option('--all', 'every guest that is known')
    .option('--due', 'every guest whose backup is due')
    .option('--without-quiesce', 'ask no controller: crash-consistent')
    .option('--storage <name>', "one of the guest's backup storages (default: the most overdue)")
    .option('--no-wait', 'return the job ids and leave the jobs to serve')
    .addHelpText('after', example('felhom-agent backup now 101\n  felhom-agent backup now --due --json'))
    .action(
      async (
        vmids: number[],
        flags: { all?: boolean; due?: boolean; withoutQuiesce?: boolean; storage?: string; wait: boolean },
      ) => {
        const { backupNow } = await import('./commands/backup-now.ts');
        await backupNow(context(), {
          vmids,
          all: flags.all === true,
          due: flags.due === true,
          withoutQuiesce: flags.withoutQuiesce === true,
          storage: flags.storage,
          wait: flags.wait,
        });
      },
    );
  backup
    .command('due')
    .description('tell whose backup is due, and why')
    .argument('[vmid...]', 'guests (default: all)', vmidList)
    .addHelpText('after', example('felhom-agent backup due'))
    .action(async (vmids: number[]) => {
      const { backupDue } = await import('./commands/backup-due.ts');
      await backupDue(context(), vmids);
    });
  backup
    .command('status')
    .description('tell how backups stand: those under way, or the newest of the named guests; reads state only')
    .argument('[vmid...]', 'guests', vmidList)
    .addHelpText('after', example('felhom-agent backup status 101'))
    .action(async (vmids: number[]) => {
      const { backupStatus } = await import('./commands/backup-list.ts');
      await backupStatus(context(), vmids);
    });
  backup
    .command('list')
    .description('list the backups that lie on the storages, newest first; asks PVE')
    .argument('[vmid...]', 'guests (default: all that are known)', vmidList)
    .addHelpText('after', example('felhom-agent backup list 101 --json'))
    .action(async (vmids: number[]) => {
      const { backupList } = await import('./commands/backup-list.ts');
      await backupList(context(), vmids);
    });
  backup
    .command('cancel')
    .description('end the backup under way of a guest')
    .argument('<vmid>', 'guest', oneVmid)
    .option('--force', 'also while its apps are down for it')
    .addHelpText('after', example('felhom-agent backup cancel 101'))
    .action(async (vmid: number, flags: { force?: boolean }) => {
      const { backupCancel } = await import('./commands/backup-cancel.ts');
      await backupCancel(context(), vmid, flags.force === true);
    });
}

function addGuest(program: Command, context: ContextOf): void {
  const guest = program.command('guest').description('the guests that this agent answers');
  guest
    .command('list')
    .description('list the guests with a token or a file in guests.d')
    .addHelpText('after', example('felhom-agent guest list'))
    .action(async () => {
      const { guestList } = await import('./commands/guest.ts');
      await guestList(context());
    });
  guest
    .command('show')
    .description('show one guest')
    .argument('<vmid>', 'guest', oneVmid)
    .addHelpText('after', example('felhom-agent guest show 101'))
    .action(async (vmid: number) => {
      const { guestShow } = await import('./commands/guest.ts');
      await guestShow(context(), vmid);
    });
  guest
    .command('adopt')
    .description('let a refused guest in, or give a guest its token')
    .argument('<vmid>', 'guest', oneVmid)
    .option('--token-out <file>', 'make a new token, write it to this file (0600), and revoke the old one')
    .addHelpText('after', example('felhom-agent guest adopt 101 --token-out /root/guest-101.token'))
    .action(async (vmid: number, flags: { tokenOut?: string }) => {
      const { guestAdopt } = await import('./commands/guest-adopt.ts');
      await guestAdopt(context(), vmid, flags.tokenOut);
    });
}

function addStatus(program: Command, context: ContextOf): void {
  program
    .command('status')
    .description('tell what this agent knows; reads state only')
    .option('--check', 'exit 6 when something needs attention')
    .option('--live', 'ask serve and PVE too')
    .addHelpText('after', example('felhom-agent status --check --live'))
    .action(async (flags: { check?: boolean; live?: boolean }) => {
      const { status } = await import('./commands/status.ts');
      await status(context(), { check: flags.check === true, live: flags.live === true });
    });
}

function addConfig(program: Command, context: ContextOf): void {
  const config = program.command('config').description('the configuration');
  for (const verb of ['check', 'show', 'schema'] as const) {
    config
      .command(verb)
      .description(
        {
          check: 'read the files and name every mistake',
          show: 'print what is in force, defaults included',
          schema: 'print every key as a JSON schema',
        }[verb],
      )
      .addHelpText('after', example(`felhom-agent config ${verb}`))
      .action(async () => {
        const commands = await import('./commands/config.ts');
        await commands.configCommand(context(), verb);
      });
  }
}

function example(text: string): string {
  return `\nExample:\n  ${text}`;
}

function everyCommand(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...everyCommand(child)]);
}

function oneVmid(text: string): number {
  if (/^[1-9]\d{2,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('A VMID is a whole number from 100 on.');
}

function vmidList(text: string, before: number[] | undefined): number[] {
  return [...(before ?? []), oneVmid(text)];
}
