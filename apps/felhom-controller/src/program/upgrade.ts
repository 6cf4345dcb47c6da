import { type Command, InvalidArgumentError } from 'commander';
import type { CommandContext } from '../commands/context.ts';
import type { ActOptions } from '../commands/upgrade-act.ts';

type ContextOf = () => CommandContext;

interface ActFlags {
  force?: boolean;
  pull: boolean;
  autoRollbackAfter?: number;
}

/** `upgrade …`: words only; each action loads its own command. */
export function addUpgrade(program: Command, context: ContextOf): void {
  const upgrade = program
    .command('upgrade')
    .description(
      'upgrade stacks as one transaction over images and data: the new version, healthy, or the old one as it was',
    );
  addLooks(upgrade, context);
  addActs(upgrade, context);
  addByHand(upgrade, context);
}

function addLooks(upgrade: Command, context: ContextOf): void {
  const look = (name: 'check' | 'plan', description: string): void => {
    upgrade
      .command(name)
      .description(description)
      .argument('<stack>', 'Compose project')
      .option('--no-pull', 'do not ask registries: only what is on this machine, and in the files')
      .option('--force', 'show which gates --force would go past')
      .addHelpText('after', example(`felhom-controller upgrade ${name} nextcloud`))
      .action(async (stack: string, { pull, force }: { pull: boolean; force?: boolean }) => {
        const { upgradeCheck } = await import('../commands/upgrade-look.ts');
        await upgradeCheck(context(), stack, { pull, force: force === true });
      });
  };
  look('check', 'ask whether there is something newer: registries, images on this machine, changed files');
  look('plan', 'show what would change, what is in the way, and what would not be rolled back; stops nothing');
  upgrade
    .command('status')
    .description('where each upgrade stands, its last health check rung by rung, what is held back')
    .argument('[stack]', 'Compose project (default: all)')
    .addHelpText('after', example('felhom-controller upgrade status --json | jq .stacks[].rungs'))
    .action(async (stack: string | undefined) => {
      const { upgradeStatus } = await import('../commands/upgrade-look.ts');
      await upgradeStatus(context(), stack ?? null);
    });
}

function addActs(upgrade: Command, context: ContextOf): void {
  withActFlags(upgrade.command('stage').argument('<stack>', 'Compose project'))
    .description('check, and fetch everything of the new version; stops nothing')
    .addHelpText('after', example('felhom-controller upgrade stage nextcloud'))
    .action(async (stack: string, flags: ActFlags) => {
      const { upgradeStage } = await import('../commands/upgrade-act.ts');
      await upgradeStage(context(), stack, toOptions(flags));
    });
  withActFlags(upgrade.command('activate').argument('<stack>', 'Compose project'))
    .description('go over to what was staged, or back')
    .addHelpText('after', example('felhom-controller upgrade activate nextcloud'))
    .action(async (stack: string, flags: ActFlags) => {
      const { upgradeActivate } = await import('../commands/upgrade-act.ts');
      await upgradeActivate(context(), stack, toOptions(flags));
    });
  withActFlags(upgrade.command('apply').argument('[stack]', 'Compose project'))
    .description('stage and activate: in the end the new version runs, healthy, or the old one as it was')
    .option('--all', 'every stack, one after the other')
    .option('--due', 'with --all: only stacks whose policy is auto, inside their window; for timers')
    .addHelpText('after', applyHelp)
    .action(async (stack: string | undefined, flags: ActFlags & { all?: boolean; due?: boolean }) => {
      if ((stack === undefined) !== (flags.all === true)) throw new InvalidArgumentError('name one stack, or --all');
      const { upgradeApply, upgradeApplyAll } = await import('../commands/upgrade-act.ts');
      if (stack === undefined) await upgradeApplyAll(context(), { ...toOptions(flags), due: flags.due === true });
      else await upgradeApply(context(), stack, toOptions(flags));
    });
}

function addByHand(upgrade: Command, context: ContextOf): void {
  upgrade
    .command('healthcheck')
    .description('climb the health ladder of what runs now; keeps an upgrade that waits for a person')
    .argument('<stack>', 'Compose project')
    .addHelpText('after', example('felhom-controller upgrade healthcheck nextcloud'))
    .action(async (stack: string) => {
      const { upgradeHealthcheck } = await import('../commands/upgrade-act.ts');
      await upgradeHealthcheck(context(), stack);
    });
  upgrade
    .command('rollback')
    .description('take the last upgrade back, with the data as it was before it')
    .argument('<stack>', 'Compose project')
    .option('--discard', 'give up what was written since the upgrade')
    .addHelpText('after', rollbackHelp)
    .action(async (stack: string, { discard }: { discard?: boolean }) => {
      const { upgradeRollback } = await import('../commands/upgrade-act.ts');
      await upgradeRollback(context(), stack, { discard: discard === true });
    });
  upgrade
    .command('allow')
    .description('let targets be tried again that were rolled back')
    .argument('<stack>', 'Compose project')
    .addHelpText(
      'after',
      example('felhom-controller upgrade allow nextcloud && felhom-controller upgrade apply nextcloud'),
    )
    .action(async (stack: string) => {
      const { upgradeAllow } = await import('../commands/upgrade-act.ts');
      await upgradeAllow(context(), stack);
    });
}

function withActFlags(command: Command): Command {
  return command
    .option('--no-pull', 'do not ask registries: only what is on this machine, and in the files')
    .option('--force', 'go past the soft gates, and say which')
    .option('--auto-rollback-after <n>', 'failed health checks in a row until it is rolled back', positive);
}

function toOptions({ force, pull, autoRollbackAfter }: ActFlags): ActOptions {
  return { force: force === true, pull, rollbackAfter: autoRollbackAfter ?? null };
}

function positive(text: string): number {
  if (!/^[1-9]\d?$/.test(text)) throw new InvalidArgumentError('expected a number from 1 to 99');
  return Number(text);
}

function example(lines: string): string {
  return `\nExamples:\n  ${lines}`;
}

const applyHelp = `
Before the stack stops: everything of the new version is here, the images that run are held, the way back is
free, and what would not be rolled back is said. Then: stop, keep the data, start the new version, watch it
(Compose's health, the probe of the configuration, nothing restarts for upgrade.stable). If it is not
healthy, images, files and data are put back, and this target is held back until "upgrade allow".
Ctrl-C takes it back. A controller that dies is taken over by its guard, the timer, or the next boot.

Examples:
  felhom-controller upgrade apply nextcloud
  felhom-controller upgrade apply nextcloud --auto-rollback-after 3
  felhom-controller upgrade apply --all --due --json`;

const rollbackHelp = `
What was written since the upgrade is kept as a snapshot of its own ("snapshot list"), before anything of it is
replaced; where there is no room for that, nothing is stopped. Only the last upgrade can be taken back.

Examples:
  felhom-controller upgrade rollback nextcloud`;
