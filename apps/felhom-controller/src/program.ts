import { baseContext, type ProgramOptions, showGlobalOptions } from '@felhom/cli/base-context.ts';
import { Command, InvalidArgumentError } from 'commander';
import type { CommandContext } from './commands/context.ts';
import { addAlert } from './program/alert.ts';
import { addBackup } from './program/backup.ts';
import { addSnapshot } from './program/snapshot.ts';
import { addUpgrade } from './program/upgrade.ts';

/** The command line. Each action loads its own command; nothing but words stands here. */
export function buildProgram(options: ProgramOptions): Command {
  const program = new Command('felhom-controller')
    .description(
      "Takes app-consistent backups of this guest's Docker Compose stacks, together with felhom-agent on the host.",
    )
    .version('0.1.0')
    .option('--json', 'print one JSON object on stdout')
    .option('--config <file>', 'configuration file (FELHOM_CONFIG; default /etc/felhom/controller.yaml)')
    .option('--state-dir <dir>', 'marker, history and generation (FELHOM_STATE_DIR; default /var/lib/felhom)')
    .addHelpText('after', exitCodes);
  const context = (): CommandContext => {
    const { json, config, stateDir } = program.opts<{ json?: boolean; config?: string; stateDir?: string }>();
    return { ...baseContext(options, json === true), flags: { config, stateDir } };
  };
  addBackup(program, context);
  addRecover(program, context);
  addStack(program, context);
  addSnapshot(program, context);
  addUpgrade(program, context);
  addReconcile(program, context);
  addAlert(program, context);
  addStatus(program, context);
  addConfig(program, context);
  showGlobalOptions(program);
  return program;
}

const exitCodes = `
Exit codes:
  0 done   1 a bug of ours   2 usage or configuration   3 the backup failed, apps are running
  5 done, but less than asked (crash-consistent)   6 status --check: something needs attention
  10 agent or docker unreachable   11 busy: another run   12 refused
  13 refused by policy, or a restored copy
  20 APPS ARE DOWN and could not be brought back   130/143 interrupted, apps are running`;

type ContextOf = () => CommandContext;

function addRecover(program: Command, context: ContextOf): void {
  program
    .command('recover')
    .description('bring back whatever an interrupted run left down; safe at any time')
    .option('--forgive <stack>', 'drop what is owed to this stack, without starting it')
    .addHelpText('after', recoverHelp)
    .action(async (options: { forgive?: string }) => {
      const { recoverCommand } = await import('./commands/recover.ts');
      await recoverCommand(context(), { forgive: options.forgive ?? null });
    });
}

function addStack(program: Command, context: ContextOf): void {
  const stack = program.command('stack').description('the stacks of this guest, as docker shows them');
  stack
    .command('list')
    .description('list Compose projects and plain containers, and what a backup does with them')
    .addHelpText('after', example('felhom-controller stack list'))
    .action(async () => {
      const { stackList } = await import('./commands/stack.ts');
      await stackList(context());
    });
  stack
    .command('show')
    .description('show the containers of one stack, and what a backup does with each')
    .argument('<name>', "Compose project, or a plain container's name")
    .addHelpText('after', example('felhom-controller stack show nextcloud'))
    .action(async (name: string) => {
      const { stackShow } = await import('./commands/stack.ts');
      await stackShow(context(), name);
    });
  stack
    .command('hold')
    .description('take a stack in hand: reconcile does not start it, no upgrade touches it; backups go on')
    .argument('<name>', 'Compose project')
    .option('--reason <text>', 'why, for whoever reads it later')
    .addHelpText('after', example('felhom-controller stack hold wiki --reason "moving its data"'))
    .action(async (name: string, options: { reason?: string }) => {
      const { stackHold } = await import('./commands/stack-hold.ts');
      await stackHold(context(), name, options.reason ?? null);
    });
  stack
    .command('release')
    .description('give a held stack back')
    .argument('<name>', 'Compose project')
    .addHelpText('after', example('felhom-controller stack release wiki'))
    .action(async (name: string) => {
      const { stackRelease } = await import('./commands/stack-hold.ts');
      await stackRelease(context(), name);
    });
}

function addReconcile(program: Command, context: ContextOf): void {
  program
    .command('reconcile')
    .description('settle what is owed, then start the stacks that are declared to run and do not')
    .option('--once', 'one pass (the default)')
    .option('--interval <duration>', 'one pass after the other, such as 30s', interval)
    .addHelpText('after', reconcileHelp)
    .action(async (options: { once?: boolean; interval?: number }) => {
      const { reconcileCommand } = await import('./commands/reconcile.ts');
      await reconcileCommand(context(), { intervalMs: options.once === true ? null : (options.interval ?? null) });
    });
}

function addStatus(program: Command, context: ContextOf): void {
  program
    .command('status')
    .description('what is owed, what runs now, how the last backup went; reads state only')
    .option('--check', 'exit 6 when something needs attention, 20 when apps are owed a start')
    .option('--live', 'also ask docker and the agent')
    .option('--textfile <file>', 'write it as Prometheus text too, for a textfile collector')
    .addHelpText(
      'after',
      example(
        'felhom-controller status --check || mail -s "felhom" root < /dev/null\n  felhom-controller status --live --json',
      ),
    )
    .action(async (options: { check?: boolean; live?: boolean; textfile?: string }) => {
      const { status } = await import('./commands/status.ts');
      await status(context(), {
        check: options.check === true,
        live: options.live === true,
        textfile: options.textfile ?? null,
      });
    });
}

function addConfig(program: Command, context: ContextOf): void {
  const config = program.command('config').description('the configuration: flag over environment over file');
  const add = (name: 'check' | 'show' | 'schema', description: string): void => {
    config
      .command(name)
      .description(description)
      .addHelpText('after', example(`felhom-controller config ${name}`))
      .action(async () => {
        const commands = await import('./commands/config.ts');
        await commands[name](context());
      });
  };
  add('check', 'check file and token; every mistake with its line and column');
  add('show', 'print the configuration in force, defaults included');
  add('schema', 'print the JSON Schema of the file, with every key and default');
}

/** Whole seconds, minutes or hours: parsed here, where the quantities of the configuration would cost a start. */
function interval(text: string): number {
  const match = /^([1-9]\d{0,5})(s|m|h)$/.exec(text);
  if (match === null) throw new InvalidArgumentError('expected a duration such as 30s');
  return Number(match[1]) * { s: 1_000, m: 60_000, h: 3_600_000 }[match[2] as 's' | 'm' | 'h'];
}

function example(lines: string): string {
  return `\nExamples:\n  ${lines}`;
}

const reconcileHelp = `
Declared is a stack by "state: running" under its name in the configuration. It is started, never made: no image is
pulled, no container created. A stack under a backup, an upgrade or "stack hold" is left alone. Exit 5: a declared
stack is not installed; 20: one could not be started.

Examples:
  felhom-controller reconcile
  felhom-controller reconcile --interval 30s`;

const recoverHelp = `
Starts exactly the containers that an interrupted run stopped, and says what could not be started. Twice
is the same as once. A run that is alive and within its deadline is left alone. It works with a broken
configuration and on a full disk.

Examples:
  felhom-controller recover
  felhom-controller recover --forgive paperless`;
