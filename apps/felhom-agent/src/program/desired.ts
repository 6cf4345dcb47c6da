import { type Command, InvalidArgumentError } from 'commander';
import { type ContextOf, duration, example } from './words.ts';

const monthMs = 30 * 86_400_000;

const signHelp = `
The document holds the files as they are; an agent takes it when one of guests_document.signers signed it, its id is
among --agent, it has not expired, and its serial is higher than every one before. Whatever is refused, the last good
document stays in force.

Examples:
  felhom-agent operation keygen --out ~/declare.key --name anna
  felhom-agent desired sign guests.d/ --key ~/declare.key --agent 0123456789abcdef0123456789abcdef --out pve1.json`;

export function addDesired(program: Command, context: ContextOf): void {
  const desired = program.command('desired').description('what is declared by signed documents from a server');
  desired
    .command('show')
    .description('print the document in force, and what is wrong with its server; reads state only')
    .addHelpText('after', example('felhom-agent desired show --json'))
    .action(async () => {
      const { desiredShow } = await import('../commands/desired-show.ts');
      await desiredShow(context());
    });
  desired
    .command('sign')
    .description('put files of guests into one signed document; runs anywhere')
    .argument('<place...>', 'folders of files, such as guests.d, or files')
    .requiredOption('--key <file>', 'private key of operation keygen')
    .requiredOption('--agent <id...>', 'the agents that it is for: felhom-agent desired show prints an id')
    .option('--serial <n>', 'higher than every one before (default: the seconds since 1970)', serial)
    .option('--valid-for <duration>', 'how long it may be taken, a year at most', duration, monthMs)
    .option('--out <file>', 'new file for the document (default: standard output)')
    .addHelpText('after', signHelp)
    .action(
      async (
        places: string[],
        flags: { key: string; agent: string[]; serial?: number; validFor: number; out?: string },
      ) => {
        const { desiredSign } = await import('../commands/desired-sign.ts');
        const { key, agent: agents, serial: number, validFor: validForMs, out } = flags;
        await desiredSign(context(), { places, key, agents, serial: number, validForMs, out });
      },
    );
  desired
    .command('verify')
    .description('tell whether this agent would follow a document now; changes nothing')
    .argument('<file>', 'document; - is standard input')
    .addHelpText('after', example('felhom-agent desired verify pve1.json'))
    .action(async (file: string) => {
      const { desiredVerify } = await import('../commands/desired-verify.ts');
      await desiredVerify(context(), { file });
    });
}

function serial(text: string): number {
  const number = Number(text);
  if (/^[1-9]\d*$/.test(text) && Number.isSafeInteger(number)) return number;
  throw new InvalidArgumentError('A serial is a whole number from 1 on.');
}
