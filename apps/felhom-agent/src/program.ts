import { baseContext, type ProgramOptions, showGlobalOptions } from '@felhom/cli/base-context.ts';
import { Command } from 'commander';
import type { CommandContext } from './commands/context.ts';
import { addBackup } from './program/backup.ts';
import { addConfig } from './program/config.ts';
import { addDesired } from './program/desired.ts';
import { addGuest } from './program/guest.ts';
import { addOperation } from './program/operation.ts';
import { addJournal, addPlan, addReconcile } from './program/reconcile.ts';
import { addServe, addStatus } from './program/service.ts';

/** The command line. Each action loads its own command; nothing but words stands here. */
export function buildProgram(options: ProgramOptions): Command {
  const program = new Command('felhom-agent')
    .description(
      'Takes backups of the guests of this Proxmox VE host that are worth restoring, together with felhom-controller in each guest.',
    )
    .version('0.1.0')
    .option('--json', 'print one JSON object on stdout')
    .option('--config <file>', 'configuration file (FELHOM_CONFIG; default /etc/felhom/agent.yaml)')
    .addHelpText('after', exitCodes);
  const context = (): CommandContext => {
    const { json, config } = program.opts<{ json?: boolean; config?: string }>();
    const base = baseContext(options, json === true);
    return { ...base, flags: { config: config ?? base.env['FELHOM_CONFIG'] } };
  };
  addServe(program, context);
  addBackup(program, context);
  addGuest(program, context);
  addPlan(program, context);
  addReconcile(program, context);
  addJournal(program, context);
  addDesired(program, context);
  addOperation(program, context);
  addStatus(program, context);
  addConfig(program, context);
  showGlobalOptions(program);
  return program;
}

const exitCodes = `
Exit codes:
  0 done   1 a bug of ours   2 usage or configuration   3 the backup or a guest failed, apps are running
  4 guests are not as declared (--detailed-exitcode)   5 done, but less than asked (crash-consistent)
  6 status --check: something needs attention
  10 no serve on the socket, or PVE unreachable   11 busy   12 refused   13 refused by policy
  130/143 interrupted; a job under way goes on`;
