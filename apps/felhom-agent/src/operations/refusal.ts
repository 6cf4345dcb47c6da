import { Failure, type FailureCode } from '@felhom/kernel/failure.ts';
import type { EnvelopeReason } from '@felhom/signed-document/envelope.ts';

/** Every way in which an operation is refused with nothing done: one row a meaning, `error.reason` of the answer. */
export type RefusalReason = EnvelopeReason | OwnReason;

type OwnReason =
  | 'malformed_payload'
  | 'other_agent'
  | 'expired'
  | 'not_yet_valid'
  | 'lifetime_too_long'
  | 'clock_behind'
  | 'replayed'
  | 'idempotency_conflict'
  | 'too_many'
  | TargetReason;

/** Those that the target itself gives: the same envelope may be applied once it is as it was signed. */
export type TargetReason =
  | 'guest_absent'
  | 'guest_running'
  | 'guest_protected'
  | 'guest_locked'
  | 'guest_changed'
  | 'other_guest'
  | 'guest_template'
  | 'backup_absent'
  | 'backup_changed'
  | 'backup_protected'
  | 'backup_of_other_guest'
  | 'snapshot_absent'
  | 'snapshot_changed'
  | 'volume_unsaved'
  | 'archive_unreadable'
  | 'archive_unproven'
  | 'lane_busy'
  | 'earlier_open';

export interface Refusal<R extends string = RefusalReason> {
  reason: R;
  /** What was found, one line. */
  detail: string;
}

const signAgain = 'Look at what is there now, and sign anew what you mean: felhom-agent operation sign --help';
const verify = 'felhom-agent operation verify FILE explains an envelope without acting.';
const busy: readonly RefusalReason[] = ['guest_locked', 'lane_busy', 'earlier_open'];

const hints: Readonly<Record<RefusalReason, string>> = {
  oversized: verify,
  malformed: `Take the file as "operation sign" wrote it. ${verify}`,
  malformed_payload: `Sign with the felhom-agent of the same version. ${verify}`,
  duplicate_key: `Nobody of ours writes such a document: find out who made it. ${verify}`,
  wrong_payload_type: 'This is another kind of document; operations are made by: felhom-agent operation sign',
  no_signers: 'Name who may sign in agent.yaml, signers: felhom-agent operation keygen prints the line.',
  unsigned: 'Sign it: felhom-agent operation sign',
  unknown_key: 'Have it signed by a key of agent.yaml, signers, or name that key there.',
  revoked_key: 'Have it signed by a key that is still good.',
  bad_signature: 'It was altered after it was signed, or signed by something else: sign anew what you mean.',
  other_agent: 'Apply it on the host that it was signed for: felhom-agent operation list shows the id of each agent.',
  expired: 'Sign it anew: felhom-agent operation sign',
  not_yet_valid: 'Wait until then, or compare the clocks of this host and of whoever signed.',
  lifetime_too_long: 'Sign it anew for less than seven days: --valid-for 6d',
  clock_behind:
    'Set the clock right (timedatectl). If an earlier time was the wrong one: docs/operations.md, "The clock".',
  replayed: 'felhom-agent operation list shows what became of it. To do it again, sign it anew.',
  idempotency_conflict: 'Use another --idempotency-key for another operation.',
  too_many: 'Wait until earlier operations expire: felhom-agent operation list',
  guest_absent: 'felhom-agent operation list; "pct list" and "qm list" show the guests of this node.',
  guest_running:
    'Stop it first, and keep it stopped: felhom-agent guest hold VMID, then pct shutdown or qm shutdown VMID',
  guest_protected: 'Take the protection away first, if that is what you want: pct set or qm set VMID --protection 0',
  guest_locked: 'Wait until the task that holds the lock has ended, then apply the same file again.',
  guest_changed: signAgain,
  other_guest: signAgain,
  guest_template: 'Linked clones may hang on a template: remove it by hand.',
  backup_absent: 'felhom-agent backup list shows the backups that are there.',
  backup_changed: signAgain,
  backup_protected:
    'Take the protection away first, if that is what you want, in the interface or: pvesh set …/content/VOLID --protected 0',
  backup_of_other_guest: signAgain,
  snapshot_absent: 'pct listsnapshot or qm listsnapshot VMID shows those that are there.',
  snapshot_changed: signAgain,
  volume_unsaved:
    'Include it in backups (backup=1 of the mount point) or give it to another guest (pct move-volume VMID KEY --target-vmid …), then sign anew; sign with --without-safety-backup only if it may be lost.',
  archive_unreadable: 'Take another backup: felhom-agent backup list',
  archive_unproven:
    'Verify it where that is possible (docs/operations.md, "Restoring over a guest"), or sign with --waive-archive-check.',
  lane_busy: 'Wait until that has ended, then apply the same file again.',
  earlier_open: 'felhom-agent operation list shows it. It is looked for again with every apply and by serve.',
};

/** Reasons for which "try later" is true without anybody changing anything. */
function codeOf(reason: RefusalReason): FailureCode {
  return busy.includes(reason) ? 'busy' : 'policy_refused';
}

export const refusalReasons = Object.keys(hints);

/** The refusal for a person. Nothing was done: that is what the word means here. */
export function refusalFailure({ reason, detail }: Refusal): Failure {
  return new Failure(codeOf(reason), {
    message: `refused (${reason}): ${detail}; ${reason === 'replayed' ? 'it was not done again' : 'nothing was done'}`,
    hint: hints[reason],
    reason,
  });
}
