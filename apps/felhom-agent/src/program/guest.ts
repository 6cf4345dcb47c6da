import type { Command } from 'commander';
import { type ContextOf, example, oneVmid } from './words.ts';

export function addGuest(program: Command, context: ContextOf): void {
  const guest = program.command('guest').description('the guests that this agent answers');
  guest
    .command('list')
    .description('list the guests with a token or a file in guests.d')
    .addHelpText('after', example('felhom-agent guest list'))
    .action(async () => {
      const { guestList } = await import('../commands/guest.ts');
      await guestList(context());
    });
  guest
    .command('show')
    .description('show one guest')
    .argument('<vmid>', 'guest', oneVmid)
    .addHelpText('after', example('felhom-agent guest show 101'))
    .action(async (vmid: number) => {
      const { guestShow } = await import('../commands/guest.ts');
      await guestShow(context(), vmid);
    });
  guest
    .command('adopt')
    .description('let a refused guest in, or give a guest its token')
    .argument('<vmid>', 'guest', oneVmid)
    .option('--token-out <file>', 'make a new token, write it to this file (0600), and revoke the old one')
    .addHelpText('after', example('felhom-agent guest adopt 101 --token-out /root/guest-101.token'))
    .action(async (vmid: number, flags: { tokenOut?: string }) => {
      const { guestAdopt } = await import('../commands/guest-adopt.ts');
      await guestAdopt(context(), vmid, flags.tokenOut);
    });
  guest
    .command('hold')
    .description('leave a guest to a person: no reconcile, no scheduled backup, no start of ours')
    .argument('<vmid>', 'guest', oneVmid)
    .option('--reason <text>', 'why, for whoever looks next', 'held by an operator')
    .addHelpText('after', example('felhom-agent guest hold 101 --reason "database migration"'))
    .action(async (vmid: number, flags: { reason: string }) => {
      const { guestHold } = await import('../commands/guest-hold.ts');
      await guestHold(context(), vmid, flags.reason);
    });
  guest
    .command('release')
    .description('look after a held guest again')
    .argument('<vmid>', 'guest', oneVmid)
    .addHelpText('after', example('felhom-agent guest release 101'))
    .action(async (vmid: number) => {
      const { guestRelease } = await import('../commands/guest-hold.ts');
      await guestRelease(context(), vmid);
    });
}
