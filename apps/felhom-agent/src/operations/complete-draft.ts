import { Failure } from '@felhom/kernel/failure.ts';
import type { DraftParts } from './draft.ts';
import type { OperationPve, TargetBackup, TargetGuest } from './ports.ts';

/** Fills in what the target is at present, where nobody named it. @throws Failure `not_found`, PveError */
export async function completeDraft(pve: OperationPve, parts: DraftParts): Promise<DraftParts> {
  const backup = parts.volid === undefined ? null : await findBackup(pve, parts.volid);
  const withBackup = backup === null ? parts : { ...parts, sizeBytes: parts.sizeBytes ?? backup.sizeBytes };
  if (parts.operation === 'backup-delete') return withBackup;
  const guest = await findGuest(pve, parts.vmid);
  const withGuest: DraftParts = {
    ...withBackup,
    kind: parts.kind ?? guest.kind,
    digest: parts.digest ?? guest.configDigest,
    rootVolume: parts.rootVolume ?? guest.rootVolume ?? undefined,
  };
  if (parts.operation !== 'snapshot-rollback' || parts.snapshot === undefined) return withGuest;
  const snapshots = await pve.snapshots(guest);
  const found = snapshots.find(({ name }) => name === parts.snapshot);
  if (found === undefined)
    throw absent(
      `guest ${parts.vmid} has no snapshot ${parts.snapshot}`,
      snapshots.length === 0 ? 'It has none at all.' : `There are: ${snapshots.map(({ name }) => name).join(', ')}`,
    );
  return { ...withGuest, snapshotTime: parts.snapshotTime ?? found.takenSeconds ?? undefined };
}

async function findGuest(pve: OperationPve, vmid: number): Promise<TargetGuest> {
  const guest = await pve.guest(vmid);
  if (guest === null)
    throw absent(`guest ${vmid} is not on node ${pve.node}`, '"pct list" and "qm list" show the guests that are.');
  return guest;
}

async function findBackup(pve: OperationPve, volid: string): Promise<TargetBackup> {
  const backup = await pve.backup(volid);
  if (backup === null)
    throw absent(`there is no backup ${volid}`, 'felhom-agent backup list shows those that are there.');
  return backup;
}

function absent(what: string, hint: string): Failure {
  return new Failure('not_found', { message: `${what}; nothing was signed`, hint });
}
