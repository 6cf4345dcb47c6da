import { type Command, InvalidArgumentError } from 'commander';
import { type ContextOf, example, exits, vmidList } from './words.ts';

interface PlanningFlags {
  allowStops?: number;
  allowMemoryBelowUse?: boolean;
  detailedExitcode?: boolean;
}

export function addPlan(program: Command, context: ContextOf): void {
  planningOptions(program.command('plan'))
    .description('show what would make the guests as declared, and do nothing')
    .addHelpText('after', example('felhom-agent plan\n  felhom-agent plan 101 --detailed-exitcode'))
    .addHelpText('after', exits(planExits))
    .action(async (vmids: number[], flags: PlanningFlags) => {
      const { planCommand } = await import('../commands/plan.ts');
      await planCommand(context(), planFlags(vmids, flags));
    });
}

/** What `plan` ends with; docs/architecture.md has the codes of all commands. */
const planExits: Readonly<Record<string, string>> = {
  0: 'it is shown',
  2: 'usage, or configuration',
  3: 'a guest cannot be had as declared',
  4: 'something is to be done (--detailed-exitcode)',
  10: 'Proxmox VE, or what is declared, cannot be had',
  12: 'refused: token, permission, certificate, unknown guest',
  13: 'it would stop too many guests (--allow-stops)',
};

/** What `reconcile --once` ends with. */
const passExits: Readonly<Record<string, string>> = {
  0: 'done; who is deferred is named, with the reason',
  2: 'usage, or configuration',
  3: 'a guest failed; the others are as declared',
  4: 'somebody is not as declared yet (--detailed-exitcode)',
  10: 'Proxmox VE, or what is declared, cannot be had; nothing was done',
  12: 'refused: token, permission, certificate, unknown guest; nothing was done',
  13: 'it would stop too many guests (--allow-stops); nothing was done',
  '130, 143': 'ended before everybody had a turn; what was begun is resolved by the next start',
};

interface ReconcileFlags extends PlanningFlags {
  once?: boolean;
  interval?: string;
  dryRun?: boolean;
  lockTimeout?: string;
}

export function addReconcile(program: Command, context: ContextOf): void {
  planningOptions(program.command('reconcile'))
    .description('make the guests of this node as declared')
    .option('--once', 'one pass, for cron and timers')
    .option('--interval <time>', 'a pass every so often (30s), until SIGTERM')
    .option('--dry-run', 'show what a pass would do, as plan does')
    .option('--lock-timeout <time>', 'how long to wait for locks, backups and tasks of others (default 2m with --once)')
    .addHelpText('after', example('felhom-agent reconcile --once\n  felhom-agent reconcile --interval 30s'))
    .addHelpText('after', exits(passExits))
    .action(async (vmids: number[], flags: ReconcileFlags) => {
      const { reconcileCommand } = await import('../commands/reconcile.ts');
      await reconcileCommand(context(), {
        ...planFlags(vmids, flags),
        once: flags.once === true,
        interval: flags.interval,
        dryRun: flags.dryRun === true,
        lockTimeout: flags.lockTimeout,
      });
    });
}

export function addJournal(program: Command, context: ContextOf): void {
  const journal = program
    .command('journal')
    .description('what was done to guests, and what is not known to have ended');
  journal
    .command('list')
    .description('list actions and signed operations, newest first; reads state only')
    .argument('[vmid...]', 'guests (default: all)', vmidList)
    .option('--open', 'only those that nobody saw the end of')
    .option('--last <n>', 'how many (default 50)', count)
    .addHelpText('after', example('felhom-agent journal list 101 --open'))
    .action(async (vmids: number[], flags: { open?: boolean; last?: number }) => {
      const { journalList } = await import('../commands/journal.ts');
      await journalList(context(), { vmids, open: flags.open === true, last: flags.last ?? 50 });
    });
  journal
    .command('show')
    .description('show one of them')
    .argument('<id>', 'its id')
    .addHelpText('after', example('felhom-agent journal show mfx3k2-0011223344556677'))
    .action(async (id: string) => {
      const { journalShow } = await import('../commands/journal.ts');
      await journalShow(context(), id);
    });
  program
    .command('recover')
    .description('look what became of actions that nobody saw the end of; changes no guest')
    .addHelpText('after', example('felhom-agent recover'))
    .action(async () => {
      const { recoverCommand } = await import('../commands/recover.ts');
      await recoverCommand(context());
    });
}

function planningOptions(command: Command): Command {
  return command
    .argument('[vmid...]', 'guests (default: all that are declared)', vmidList)
    .option('--detailed-exitcode', 'exit 4 when a guest is not as declared')
    .option('--allow-stops <n>', 'how many guests the plan may stop', count)
    .option('--allow-memory-below-use', 'lower the memory of a running guest below what it uses');
}

function planFlags(vmids: readonly number[], flags: PlanningFlags) {
  return {
    vmids,
    allowStops: flags.allowStops ?? null,
    allowMemoryBelowUse: flags.allowMemoryBelowUse === true,
    detailedExitcode: flags.detailedExitcode === true,
  };
}

function count(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Give a whole number.');
}
