import type { Payload } from './payload.ts';
import type { TargetBackup, TargetGuest, TargetSnapshot } from './ports.ts';
import type { Refusal, TargetReason } from './refusal.ts';

/** What was observed of the target. */
export interface Target {
  guest: TargetGuest | null;
  backup: TargetBackup | null;
  snapshots: readonly TargetSnapshot[];
}

type Verdict = Refusal<TargetReason> | null;

/** Whether the target is what was signed, and in a state in which that may be done; null: it is. Pure. */
export function judgeTarget(payload: Payload, { guest, backup, snapshots }: Target): Verdict {
  switch (payload.operation) {
    case 'backup-delete':
      return judgeBackup(payload.target, payload.vmid, backup) ?? judgeProtection(backup);
    case 'guest-destroy':
      return judgeGuest(payload, guest) ?? judgeReplaceable(payload.vmid, guest);
    case 'snapshot-rollback':
      return judgeGuest(payload, guest) ?? judgeSnapshot(payload.target, snapshots);
    case 'guest-restore':
      return (
        judgeGuest(payload, guest) ??
        judgeReplaceable(payload.vmid, guest) ??
        (payload.safety_backup === 'waived' ? null : judgeSafety(payload.vmid, guest)) ??
        judgeBackup(payload.archive, payload.vmid, backup) ??
        judgeArchive(payload.target.kind, backup)
      );
  }
}

function judgeBackup(
  signed: { volid: string; size_bytes: number | null },
  vmid: number,
  found: TargetBackup | null,
): Verdict {
  const { volid, size_bytes: size } = signed;
  if (found === null) return no('backup_absent', `there is no backup ${volid}`);
  if (found.vmid !== vmid) return no('backup_of_other_guest', `${volid} is of guest ${found.vmid}, not of ${vmid}`);
  if (found.sizeBytes !== size)
    return no('backup_changed', `${volid} has ${bytes(found.sizeBytes)}, and ${bytes(size)} were signed`);
  return null;
}

function judgeProtection(found: TargetBackup | null): Verdict {
  return found?.protected === true ? no('backup_protected', `${found.volid} is protected`) : null;
}

function judgeArchive(kind: 'lxc' | 'qemu', found: TargetBackup | null): Verdict {
  if (found?.kind !== kind)
    return no('backup_of_other_guest', `${found?.volid} is no backup of a guest of kind ${kind}`);
  return found.verification === 'failed'
    ? no('archive_unreadable', `the storage found ${found.volid} damaged when it verified it last`)
    : null;
}

interface SignedGuest {
  vmid: number;
  target: { kind: 'lxc' | 'qemu'; config_digest?: string | undefined; root_volume?: string | undefined };
}

/** A guest of that number, kind, root and configuration: with a reused number at least one of them differs. */
function judgeGuest({ vmid, target }: SignedGuest, found: TargetGuest | null): Verdict {
  if (found === null) return no('guest_absent', `guest ${vmid} is not on this node`);
  const { kind, config_digest: digest, root_volume: root } = target;
  if (kind !== found.kind) return no('other_guest', `guest ${vmid} is of kind ${found.kind}, and ${kind} was signed`);
  if (root !== undefined && root !== found.rootVolume)
    return no('other_guest', `the root volume of guest ${vmid} is ${found.rootVolume}, and ${root} was signed`);
  if (digest !== undefined && digest !== found.configDigest)
    return no(
      'guest_changed',
      `the configuration of guest ${vmid} has the digest ${found.configDigest}, and ${digest} was signed`,
    );
  if (found.template) return no('guest_template', `guest ${vmid} is a template`);
  return found.lock === null ? null : no('guest_locked', `guest ${vmid} is locked (${found.lock})`);
}

/** PVE itself neither destroys nor overwrites a guest that runs or is protected. */
function judgeReplaceable(vmid: number, found: TargetGuest | null): Verdict {
  if (found?.protected === true) return no('guest_protected', `guest ${vmid} carries the protection flag`);
  return found?.running === true ? no('guest_running', `guest ${vmid} runs`) : null;
}

/** A backup of the present guest is promised: what it would not hold must not be destroyed. */
function judgeSafety(vmid: number, found: TargetGuest | null): Verdict {
  const unsaved = found?.unsaved ?? [];
  if (unsaved.length === 0) return null;
  return no('volume_unsaved', `no backup of guest ${vmid} holds ${unsaved.join(', ')}, and a restore destroys it`);
}

function judgeSnapshot(
  { snapshot, snapshot_time: time }: { snapshot: string; snapshot_time: number },
  found: readonly TargetSnapshot[],
): Verdict {
  const same = found.find(({ name }) => name === snapshot);
  if (same === undefined) return no('snapshot_absent', `there is no snapshot ${snapshot}`);
  if (same.takenSeconds === time) return null;
  return no('snapshot_changed', `the snapshot ${snapshot} was taken at ${same.takenSeconds}, and ${time} was signed`);
}

const bytes = (size: number | null): string => (size === null ? 'no known size' : `${size} bytes`);

function no(reason: TargetReason, detail: string): Verdict {
  return { reason, detail };
}
