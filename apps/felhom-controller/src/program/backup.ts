import { type Command, InvalidArgumentError } from 'commander';
import type { CommandContext } from '../commands/context.ts';

/** `backup …` */
export function addBackup(program: Command, context: () => CommandContext): void {
  const backup = program.command('backup').description('take backups, and look at them');
  backup
    .command('now')
    .description(
      'stop the stacks for the moment of the snapshot, have the host back this guest up, bring exactly them back',
    )
    .option('--dry-run', 'print what would stop, in which order, and change nothing')
    .option('--no-wait', 'return once the apps are back, with the archive still being written on the host')
    .option('--storage <name>', "one of this guest's backup storages (default: the most overdue)")
    .addHelpText('after', backupNowHelp)
    .action(async (options: { dryRun?: boolean; wait: boolean; storage?: string }) => {
      if (options.dryRun === true) {
        const { dryRun } = await import('../commands/backup-dry-run.ts');
        return await dryRun(context());
      }
      const { backupNow } = await import('../commands/backup-now.ts');
      await backupNow(context(), { wait: options.wait, storage: options.storage ?? null });
    });
  backup
    .command('watch')
    .description('wait for the host to call for a backup, and take it; this is what the service runs')
    .option('--once', 'one round: wait for a call at most bounds.watch_poll (50s), take that backup, end')
    .addHelpText('after', watchHelp)
    .action(async (options: { once?: boolean }) => {
      const { watch } = await import('../commands/backup-watch.ts');
      await watch(context(), { once: options.once === true });
    });
  backup
    .command('due')
    .description('ask the agent whether a backup of this guest is due, and why')
    .addHelpText('after', example('felhom-controller backup due --json | jq .due'))
    .action(async () => {
      const { backupDue } = await import('../commands/backup-due.ts');
      await backupDue(context());
    });
  backup
    .command('status')
    .description('ask the agent how a backup job stands')
    .argument('[job]', "the job's id (default: the job of the latest run)")
    .addHelpText('after', example('felhom-controller backup status\n  felhom-controller backup status 7Qx1 --json'))
    .action(async (job: string | undefined) => {
      const { backupStatus } = await import('../commands/backup-status.ts');
      await backupStatus(context(), job);
    });
  backup
    .command('history')
    .description('list the runs kept here, newest first; asks nobody')
    .option('--limit <n>', 'how many', positive, 20)
    .addHelpText('after', example('felhom-controller backup history --limit 5'))
    .action(async (options: { limit: number }) => {
      const { backupHistory } = await import('../commands/backup-history.ts');
      await backupHistory(context(), options);
    });
  backup
    .command('show')
    .description('print the summary and the timeline of a run kept here')
    .argument('[run]', "the run's id, or its beginning (default: the latest)")
    .addHelpText('after', example('felhom-controller backup show 20261120T0100'))
    .action(async (run: string | undefined) => {
      const { backupShow } = await import('../commands/backup-history.ts');
      await backupShow(context(), run);
    });
}

function positive(text: string): number {
  if (!/^[1-9]\d{0,4}$/.test(text)) throw new InvalidArgumentError('expected a number of 1 and more');
  return Number(text);
}

function example(lines: string): string {
  return `\nExamples:\n  ${lines}`;
}

const backupNowHelp = `
Nothing is stopped before the host holds all it needs. The apps are down for stop + snapshot + start,
bounds.max_quiesce (10m) at most. Ctrl-C before the snapshot cancels, after it the job goes on; in both
cases the apps come back first.

With --no-wait the exit code tells how the apps fared, not the archive: 0 once they run again. The job's
id is printed; "backup status" follows it, and the next recover, watch or backup completes the report.

Examples:
  felhom-controller backup now
  felhom-controller backup now --dry-run
  felhom-controller backup now --storage pbs --json | jq -r .grade
  job=$(felhom-controller backup now --no-wait --json | jq -r .job_id)`;

const watchHelp = `
One run at a time, whoever started it: a backup by hand and one by the service never meet. After a
failure it waits (bounds.watch_backoff, doubling to bounds.watch_backoff_limit). SIGTERM ends it; in the
middle of a backup the apps come back first.

Examples:
  systemctl enable --now felhom-controller-watch
  felhom-controller backup watch --once`;
