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
}
