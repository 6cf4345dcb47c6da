import type { Command } from 'commander';
import { type ContextOf, example, oneVmid, vmidList } from './words.ts';

const backupNowHelp = `
The controller of each guest stops its apps for the moment of the snapshot. Where none takes the request
within bounds.operator_claim (2m), and with --without-quiesce, the backup is crash-consistent (exit 5).
Window and interval of the policy do not count. Ctrl-C leaves the jobs to serve: backup status tells how
they go on, backup cancel ends one.
${example('felhom-agent backup now 101\n  felhom-agent backup now --due --json')}`;

export function addBackup(program: Command, context: ContextOf): void {
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
    .addHelpText('after', backupNowHelp)
    .action(
      async (
        vmids: number[],
        flags: { all?: boolean; due?: boolean; withoutQuiesce?: boolean; storage?: string; wait: boolean },
      ) => {
        const { backupNow } = await import('../commands/backup-now.ts');
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
      const { backupDue } = await import('../commands/backup-due.ts');
      await backupDue(context(), vmids);
    });
  backup
    .command('status')
    .description('tell how backups stand: those under way, or the newest of the named guests; reads state only')
    .argument('[vmid...]', 'guests', vmidList)
    .addHelpText('after', example('felhom-agent backup status 101'))
    .action(async (vmids: number[]) => {
      const { backupStatus } = await import('../commands/backup-list.ts');
      await backupStatus(context(), vmids);
    });
  backup
    .command('list')
    .description('list the backups that lie on the storages, newest first; asks PVE')
    .argument('[vmid...]', 'guests (default: all that are known)', vmidList)
    .addHelpText('after', example('felhom-agent backup list 101 --json'))
    .action(async (vmids: number[]) => {
      const { backupList } = await import('../commands/backup-list.ts');
      await backupList(context(), vmids);
    });
  backup
    .command('cancel')
    .description('end the backup under way of a guest')
    .argument('<vmid>', 'guest', oneVmid)
    .option('--force', 'also while its apps are down for it')
    .addHelpText('after', example('felhom-agent backup cancel 101'))
    .action(async (vmid: number, flags: { force?: boolean }) => {
      const { backupCancel } = await import('../commands/backup-cancel.ts');
      await backupCancel(context(), vmid, flags.force === true);
    });
}
