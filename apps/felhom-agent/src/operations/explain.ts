import { formatBytes } from '@felhom/cli/quantity.ts';
import { describeOperation, type Payload } from './payload.ts';

/** A payload in words, a line each: what whoever signs or applies it should read. */
export function explainPayload(payload: Payload): string[] {
  const { agent, not_before: from, expires } = payload;
  return [
    `to ${describeOperation(payload)}`,
    ...conditions(payload).map((line) => `  ${line}`),
    `  on the agent ${agent}, from ${from} to ${expires}`,
  ];
}

function conditions(payload: Payload): string[] {
  switch (payload.operation) {
    case 'backup-delete':
      return [`if it has exactly ${sizeText(payload.target.size_bytes)}`];
    case 'guest-destroy':
      return [
        guestText(payload.target),
        ...(payload.purge ? ['also out of backup jobs, replication and high availability'] : []),
        ...(payload.unreferenced_disks ? ['also disks of that number that its configuration does not name'] : []),
      ];
    case 'snapshot-rollback':
      return [
        `if the snapshot was taken at ${new Date(payload.target.snapshot_time * 1000).toISOString()}`,
        ...(payload.target.config_digest === undefined && payload.target.root_volume === undefined
          ? []
          : [guestText(payload.target)]),
        'what was written since is lost; a guest that runs is ended hard',
        ...startText(payload.start),
      ];
    case 'guest-restore':
      return [
        `if the backup has exactly ${sizeText(payload.archive.size_bytes)}`,
        guestText(payload.target),
        payload.archive_check === 'whole' ? 'once the whole backup was read' : 'WITHOUT reading the backup first',
        payload.safety_backup === 'waived'
          ? 'WITHOUT a backup of the present guest'
          : `once a protected backup of the present guest lies on ${payload.safety_backup.storage}`,
        `the snapshots of the guest are lost${payload.target.kind === 'lxc' ? ', and every volume of its own' : ''}`,
        ...startText(payload.start),
      ];
  }
}

const startText = (start: boolean): string[] => (start ? ['and start it then'] : []);

function sizeText(bytes: number | null): string {
  return bytes === null ? 'a size that its storage does not tell' : `${bytes} bytes (${formatBytes(bytes)})`;
}

function guestText(target: {
  kind: string;
  config_digest?: string | undefined;
  root_volume?: string | undefined;
}): string {
  const { kind, config_digest: digest, root_volume: root } = target;
  const marks = [
    digest === undefined ? [] : [`configuration ${digest}`],
    root === undefined ? [] : [`root volume ${root}`],
  ];
  return `if the guest is the ${kind === 'lxc' ? 'container' : 'VM'} with ${marks.flat().join(' and ')}`;
}
