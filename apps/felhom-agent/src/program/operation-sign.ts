import { Argument, type Command, InvalidArgumentError, Option } from 'commander';
import type { DraftParts } from '../operations/draft.ts';
import type { OperationName } from '../operations/payload.ts';
import { type ContextOf, duration, example, oneVmid } from './words.ts';

const names: readonly OperationName[] = ['backup-delete', 'guest-destroy', 'snapshot-rollback', 'guest-restore'];

interface SignFlags {
  key?: string;
  out?: string;
  fromAgent?: boolean;
  agent?: string;
  volid?: string;
  size?: number | null;
  kind?: 'lxc' | 'qemu';
  digest?: string;
  rootVolume?: string;
  snapshot?: string;
  snapshotTime?: number;
  purge?: boolean;
  unreferencedDisks?: boolean;
  start?: boolean;
  storage?: string;
  safetyBackup?: string;
  withoutSafetyBackup?: boolean;
  waiveArchiveCheck?: boolean;
  idempotencyKey?: string;
  validFor: number;
}

const help = `
Each operation needs, besides --agent and --key:
  backup-delete      --volid --size
  guest-destroy      --kind and --digest or --root-volume        [--purge] [--unreferenced-disks]
  snapshot-rollback  --kind --snapshot --snapshot-time           [--start]
  guest-restore      as guest-destroy, and --volid --size        [--storage] [--safety-backup | --without-safety-backup]
                                                                 [--waive-archive-check] [--start]
With --from-agent, on the host, all but the names of backup and snapshot is read from there.`;

export function addOperationSign(operation: Command, context: ContextOf): void {
  operation
    .command('sign')
    .description('sign an operation; runs anywhere, without --key it tells the words to type where the key is')
    .addArgument(new Argument('<operation>', 'what is to be done').choices(names))
    .argument('<vmid>', 'guest', oneVmid)
    .option('--key <file>', 'private key of operation keygen')
    .option('--out <file>', 'new file for the signed operation (default: standard output)')
    .option('--from-agent', "read this host's agent id and the target's present state")
    .option('--agent <id>', 'the agent that is to act: felhom-agent operation list shows its id')
    .option('--volid <volid>', 'the backup')
    .addOption(new Option('--size <bytes>', 'its exact size; unknown where its storage does not tell').argParser(size))
    .addOption(new Option('--kind <kind>', 'container or VM').choices(['lxc', 'qemu']))
    .option('--digest <digest>', 'digest of the present configuration (pvesh get …/config)')
    .option('--root-volume <volid>', "the container's rootfs, the VM's first disk")
    .option('--snapshot <name>', 'the snapshot')
    .addOption(new Option('--snapshot-time <seconds>', 'when it was taken, as PVE lists it').argParser(count))
    .option('--purge', 'also out of backup jobs, replication and high availability')
    .option('--unreferenced-disks', 'also disks that the configuration does not name')
    .option('--storage <name>', 'where the restored volumes go (default: where the rootfs is)')
    .option('--safety-backup <storage>', "where the present guest is backed up first (default: the backup's storage)")
    .option('--without-safety-backup', 'overwrite the present guest without a backup of it')
    .option('--waive-archive-check', 'restore without having read the whole backup first')
    .option('--start', 'start the guest afterwards')
    .option('--idempotency-key <key>', 'an operation under the same key is done once (default: a new one)')
    .addOption(new Option('--valid-for <duration>', 'seven days at most').argParser(duration).default(3_600_000, '1h'))
    .addHelpText('after', help)
    .addHelpText(
      'after',
      example('felhom-agent operation sign guest-destroy 101 --from-agent --key felhom.key --out destroy.json'),
    )
    .action(async (name: OperationName, vmid: number, flags: SignFlags) => {
      const { operationSign } = await import('../commands/operation-sign.ts');
      const { key, out, fromAgent } = flags;
      await operationSign(context(), { parts: partsOf(name, vmid, flags), key, out, fromAgent: fromAgent === true });
    });
}

function partsOf(operation: OperationName, vmid: number, flags: SignFlags): DraftParts {
  const { key: _key, out: _out, fromAgent: _fromAgent, size: sizeBytes, validFor: validForMs, ...rest } = flags;
  const { withoutSafetyBackup, safetyBackup, ...named } = rest;
  const safety = withoutSafetyBackup === true ? null : safetyBackup;
  return { ...named, operation, vmid, sizeBytes, validForMs, safetyBackup: safety };
}

function size(text: string): number | null {
  return text === 'unknown' ? null : count(text);
}

function count(text: string): number {
  if (/^[1-9]\d{0,15}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('A whole number is expected.');
}
