import { type Command, Option } from 'commander';
import { addOperationSign } from './operation-sign.ts';
import { type ContextOf, duration, example } from './words.ts';

export function addOperation(program: Command, context: ContextOf): void {
  const operation = program
    .command('operation')
    .description('what cannot be taken back: done only when somebody who may has signed it');
  operation
    .command('keygen')
    .description('make a key to sign with; prints the line for agent.yaml, signers')
    .requiredOption('--out <file>', 'new file for the private key (0600)')
    .option('--name <name>', 'whose key it is', '')
    .addHelpText('after', example('felhom-agent operation keygen --out ~/felhom.key --name anna'))
    .action(async (flags: { out: string; name: string }) => {
      const { operationKeygen } = await import('../commands/operation-keygen.ts');
      await operationKeygen(context(), flags);
    });
  addOperationSign(operation, context);
  operation
    .command('verify')
    .description('explain a signed operation, and tell whether apply would act on it now; changes nothing')
    .argument('<file>', 'envelope; - is standard input')
    .option('--signers <keys>', 'check the signature alone by this key line or folder; needs no agent')
    .option('--offline', 'do not look at the target')
    .addHelpText('after', example('felhom-agent operation verify delete.json'))
    .action(async (file: string, flags: { signers?: string; offline?: boolean }) => {
      const { operationVerify } = await import('../commands/operation-verify.ts');
      await operationVerify(context(), { file, signers: flags.signers, offline: flags.offline === true });
    });
  operation
    .command('apply')
    .description('do what a signed operation says, once')
    .argument('<file>', 'envelope; - is standard input')
    .addOption(
      new Option('--lock-timeout <duration>', 'how long to wait for other work on the guest')
        .argParser(duration)
        .default(120_000, '2m'),
    )
    .addHelpText('after', example('felhom-agent operation apply delete.json --json'))
    .action(async (file: string, flags: { lockTimeout: number }) => {
      const { operationApply } = await import('../commands/operation-apply.ts');
      await operationApply(context(), { file, lockTimeoutMs: flags.lockTimeout });
    });
  operation
    .command('list')
    .description("show this agent's id, who may sign, and what became of earlier operations")
    .addHelpText('after', example('felhom-agent operation list'))
    .action(async () => {
      const { operationList } = await import('../commands/operation-list.ts');
      await operationList(context());
    });
}
