import { type Command, InvalidArgumentError } from 'commander';
import { type ContextOf, example, vmidList } from './words.ts';

interface PlanningFlags {
  allowStops?: number;
  allowMemoryBelowUse?: boolean;
  detailedExitcode?: boolean;
}

export function addPlan(program: Command, context: ContextOf): void {
  planningOptions(program.command('plan'))
    .description('show what would make the guests as declared, and do nothing')
    .addHelpText('after', example('felhom-agent plan\n  felhom-agent plan 101 --detailed-exitcode'))
    .action(async (vmids: number[], flags: PlanningFlags) => {
      const { planCommand } = await import('../commands/plan.ts');
      await planCommand(context(), planFlags(vmids, flags));
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
  throw new InvalidArgumentError('Give a whole number of guests.');
}
