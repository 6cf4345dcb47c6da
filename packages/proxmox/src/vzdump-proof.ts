import type { GuestLog } from './vzdump-log.ts';

/**
 * What proves that the point in time of a guest's backup exists, by kind of guest and real mode:
 *
 * - container, snapshot: the archive's line *after* `create storage snapshot 'vzdump'`. That line itself is
 *   printed before the snapshot is made (VZDump/LXC.pm:241) and proves nothing.
 * - container, suspend: `resuming guest`, after the final copy.
 * - container, stop: nothing in the log; only the end of the guest's block.
 * - VM, any mode: `started backup task` (VZDump/QemuServer.pm:856).
 *
 * A line counts only in its place, so that text printed by another's hook script cannot stand for one.
 */
type Capture = GuestLog['capture'];

const archiveLine = /^INFO: creating .+ archive '.+'$/;

/** Whether `text`, read next, proves the point in time. */
export function isProof({ kind, mode, capture }: GuestLog, text: string): boolean {
  if (kind === 'qemu') return capture === 'archiving' && text.startsWith("INFO: started backup task '");
  if (kind !== 'lxc') return false;
  if (mode === 'snapshot') return capture === 'snapshot-requested' && archiveLine.test(text);
  return mode === 'suspend' && capture === 'final-copy-done' && text === 'INFO: resuming guest';
}

/** Where the making of the point in time stands after a line that proves nothing. */
export function nextCapture({ kind, mode, capture, proof }: GuestLog, text: string): Capture {
  if (proof !== null) return capture;
  // Clean-up before a proof: the attempt failed, and what follows is no longer about it.
  if (text.startsWith("INFO: cleanup temporary 'vzdump' snapshot")) return 'ended';
  if (kind === 'qemu') return archiveLine.test(text) ? 'archiving' : capture;
  if (mode === 'snapshot') return text === "INFO: create storage snapshot 'vzdump'" ? 'snapshot-requested' : capture;
  if (mode !== 'suspend') return archiveLine.test(text) ? 'archiving' : capture;
  if (text === 'INFO: suspending guest') return 'suspended';
  return capture === 'suspended' && text.startsWith('INFO: final sync finished') ? 'final-copy-done' : capture;
}
