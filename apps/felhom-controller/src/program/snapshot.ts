import { type Command, InvalidArgumentError } from 'commander';
import type { CommandContext } from '../commands/context.ts';

/** `snapshot …`: words only; each action loads its own command. */
export function addSnapshot(program: Command, context: () => CommandContext): void {
  const snapshot = program.command('snapshot').description("keep a stack's data as it is now, and bring it back");
  snapshot
    .command('create')
    .description('keep the data, Compose files and image ids of a stack; it must be down, or is stopped with --quiesce')
    .argument('<stack>', 'Compose project')
    .option('--quiesce', 'stop the stack for it, and bring exactly that back')
    .option('--reason <text>', 'kept with it', 'manual')
    .addHelpText('after', createHelp)
    .action(async (stack: string, options: { quiesce?: boolean; reason: string }) => {
      const { snapshotCreate } = await import('../commands/snapshot-create.ts');
      await snapshotCreate(context(), stack, { quiesce: options.quiesce === true, reason: options.reason });
    });
  snapshot
    .command('list')
    .description('list snapshots, newest first; asks nobody')
    .argument('[stack]', 'Compose project (default: all that have snapshots)')
    .addHelpText('after', '\nExamples:\n  felhom-controller snapshot list nextcloud')
    .action(async (stack: string | undefined) => {
      const { snapshotList } = await import('../commands/snapshot-look.ts');
      await snapshotList(context(), stack ?? null);
    });
  snapshot
    .command('verify')
    .description('read everything that was kept and compare it with its hashes')
    .argument('<stack>', 'Compose project')
    .argument('[id]', 'one snapshot (default: every one of the stack)')
    .addHelpText('after', verifyHelp)
    .action(async (stack: string, id: string | undefined) => {
      const { snapshotVerify } = await import('../commands/snapshot-look.ts');
      await snapshotVerify(context(), stack, id ?? null);
    });
  snapshot
    .command('restore')
    .description('put the data of a snapshot back; the stack must be down')
    .argument('<stack>', 'Compose project')
    .argument('[id]', 'the snapshot (default: the last good one)')
    .option('--files', 'also put Compose files, .env and env_files back')
    .addHelpText('after', restoreHelp)
    .action(async (stack: string, id: string | undefined, options: { files?: boolean }) => {
      const { snapshotRestore } = await import('../commands/snapshot-restore.ts');
      await snapshotRestore(context(), stack, { id: id ?? null, files: options.files === true });
    });
  snapshot
    .command('prune')
    .description('remove old snapshots of a stack; never the last good one')
    .argument('<stack>', 'Compose project')
    .option('--keep <n>', 'how many stay (default: snapshots.keep of the configuration)', positive)
    .addHelpText('after', '\nExamples:\n  felhom-controller snapshot prune nextcloud --keep 1')
    .action(async (stack: string, options: { keep?: number }) => {
      const { snapshotPrune } = await import('../commands/snapshot-look.ts');
      await snapshotPrune(context(), stack, options.keep ?? null);
    });
}

function positive(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError('expected a number of 1 and more');
  return Number(text);
}

const createHelp = `
In a snapshot: local volumes, and writable folders of the project or named in the configuration. What is not
in it is told. With --quiesce the stack is down for stop + copy + start, bounds.max_quiesce (10m) at most;
where data and snapshots lie on one btrfs, or an XFS with reflink, however much there is. Hashes are computed
once it runs again.

Examples:
  felhom-controller snapshot create nextcloud --quiesce
  docker compose -p nextcloud stop && felhom-controller snapshot create nextcloud --reason "before the move"`;

const verifyHelp = `
Exit 3 where one is damaged. Nothing is changed.

Examples:
  felhom-controller snapshot verify nextcloud
  felhom-controller snapshot verify nextcloud 20261124T220512345-3fa94c --json`;

const restoreHelp = `
Everything is verified first; whatever is wrong, nothing is touched then. The data is unpacked beside and
exchanged by renaming. Interrupted before that it is undone, after it finished: by recover, which is started
by itself. The stack stays down.

Examples:
  docker compose -p nextcloud stop && felhom-controller snapshot restore nextcloud
  felhom-controller snapshot restore nextcloud 20261124T220512345-3fa94c --files`;
