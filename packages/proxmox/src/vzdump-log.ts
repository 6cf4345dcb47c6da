import { readableFailure } from './failure-text.ts';
import type { LogLine } from './tasks.ts';
import { tryVmid, type Vmid } from './upid.ts';
import type { VzdumpMode } from './vzdump.ts';
import { type JobCommand, readJobCommand } from './vzdump-command.ts';
import { readGuestLine } from './vzdump-guest.ts';

/**
 * The reader of vzdump's task log: a pure fold over its lines, in whatever pieces they come. It
 * says what a log proves and no more: the state after a line never depends on how the lines were
 * cut into polls, and an unknown line changes nothing. What proves a snapshot stands in vzdump-proof.ts.
 */
export interface VzdumpLog {
  /** The number of the last line read; ask for the next one. */
  lastLine: number;
  /** The command that the job repeats, null before that line. */
  command: JobCommand | null;
  lock: 'not-seen' | 'waiting' | 'got' | 'lost';
  /** One block a guest and run, in the order of the job (a VMID given twice is backed up twice). */
  guests: readonly GuestLog[];
  warnings: readonly string[];
  /** Lines that our hook printed, without the prefix. */
  hookLines: readonly string[];
  /** The last line, once it is there. A worker that died leaves none. */
  end: { kind: 'ok' } | { kind: 'warnings'; count: number } | { kind: 'error'; text: string } | null;
}

/** The block of one guest. */
export interface GuestLog {
  vmid: Vmid;
  /** null where the job failed before it said so. */
  kind: 'lxc' | 'qemu' | null;
  name: string | null;
  /** Whether the guest ran when the job came to it. */
  running: boolean | null;
  /** The mode that is really used; null until the log tells. */
  mode: VzdumpMode | null;
  /** Set when vzdump could not do what was asked and tried another mode. */
  fallback: { to: VzdumpMode; why: string } | null;
  /** Where the making of the point in time is; see vzdump-proof.ts. */
  capture: 'not-begun' | 'snapshot-requested' | 'suspended' | 'final-copy-done' | 'archiving' | 'proven' | 'ended';
  proof: Proof | null;
  included: readonly Mount[];
  excluded: readonly ExcludedMount[];
  /** The archive's path (file storages) or snapshot name (PBS). */
  archive: string | null;
  volid: string | null;
  progress: Progress;
  sizes: Sizes;
  notes: 'not-seen' | 'added' | 'failed';
  prune: Prune;
  /** What the job did to the running guest, and whether it says that it is back. */
  downtime: { kind: 'none' | 'stopped' | 'suspended'; backOnline: boolean };
  warnings: readonly string[];
  /** The last line in which a tool complained: vzdump's own error names only the command that failed. */
  complaint: string | null;
  result: GuestResult | null;
}

export interface Proof {
  /** The line that proves it. */
  line: number;
  text: string;
}

export interface Mount {
  /** `rootfs`, `mp0`, `scsi0` */
  mount: string;
  /** The path in a container; for a VM's disk its volume. */
  target: string;
}

export interface ExcludedMount extends Mount {
  why: string;
}

export interface Progress {
  /** 0 to 100, null where the log does not tell (tar does not). */
  percent: number | null;
  /** Bytes read so far, rounded by PVE; null where the log does not tell. */
  bytes: number | null;
}

export interface Sizes {
  /** Bytes of the guest's data that were archived (tar: exact; others rounded by PVE). */
  dataBytes: number | null;
  /** Bytes of the finished archive, rounded by PVE; PBS tells what was uploaded. */
  archiveBytes: number | null;
}

export interface Prune {
  /** `keep-last=3`; null where nothing was pruned. */
  retention: string | null;
  removed: readonly string[];
}

export type GuestResult =
  | { kind: 'finished'; seconds: number | null }
  /** `reason` is for people: see failure-text.ts. `text` is vzdump's own, which may hold a whole command line. */
  | { kind: 'failed'; reason: string; text: string };

export const emptyVzdumpLog: VzdumpLog = {
  lastLine: 0,
  command: null,
  lock: 'not-seen',
  guests: [],
  warnings: [],
  hookLines: [],
  end: null,
};

/** The state after `lines`. Lines that were read before are passed over. `fallbackStorage`: used where the command names none. */
export function readVzdumpLog(log: VzdumpLog, lines: readonly LogLine[], fallbackStorage?: string): VzdumpLog {
  return lines.reduce(
    (state, line) => (line.n <= state.lastLine ? state : readLine(state, line, fallbackStorage)),
    log,
  );
}

/** The block of `vmid` that is under way or ended last, or null where the job has not come to it. */
export function guestLog(log: VzdumpLog, vmid: Vmid): GuestLog | null {
  return log.guests.findLast((guest) => guest.vmid === vmid) ?? null;
}

function readLine(state: VzdumpLog, line: LogLine, fallbackStorage: string | undefined): VzdumpLog {
  const log = { ...state, lastLine: line.n };
  const { text } = line;
  const end = readEnd(text);
  if (end !== null) return { ...log, end };
  const job = readJobLine(log, text);
  if (job !== null) return job;
  const opened = openGuest(log, text);
  if (opened !== null) return opened;
  const failed = failGuest(log, text);
  if (failed !== null) return failed;
  const current = log.guests.at(-1);
  if (current === undefined || current.result !== null) return withLooseWarning(log, text);
  const storage = log.command?.storage ?? fallbackStorage ?? null;
  return withGuest(log, readGuestLine(current, line, storage));
}

function readEnd(text: string): VzdumpLog['end'] {
  if (text === 'TASK OK') return { kind: 'ok' };
  const warnings = /^TASK WARNINGS: (\d+)$/.exec(text);
  if (warnings !== null) return { kind: 'warnings', count: Number(warnings[1]) };
  const error = /^TASK ERROR: (.*)$/s.exec(text);
  return error === null ? null : { kind: 'error', text: error[1] ?? '' };
}

/** Lines about the job as a whole. */
function readJobLine(log: VzdumpLog, text: string): VzdumpLog | null {
  if (text === 'INFO: trying to get global lock - waiting...') return { ...log, lock: 'waiting' };
  if (text === 'INFO: got global lock') return { ...log, lock: 'got' };
  if (text.startsWith("ERROR: can't acquire lock '")) return { ...log, lock: 'lost' };
  const hook = /^INFO: (felhom\b.*)$/.exec(text);
  if (hook?.[1] !== undefined) return { ...log, hookLines: [...log.hookLines, hook[1]] };
  const command = log.command === null ? readJobCommand(text) : null;
  return command === null ? null : { ...log, command, lock: log.lock === 'not-seen' ? 'got' : log.lock };
}

function openGuest(log: VzdumpLog, text: string): VzdumpLog | null {
  const match = /^INFO: Starting Backup of VM (\d+) \((lxc|qemu)\)$/.exec(text);
  const vmid = tryVmid(match?.[1]);
  if (match === null || vmid === null) return null;
  return { ...log, guests: [...log.guests, newGuest(vmid, match[2] === 'qemu' ? 'qemu' : 'lxc')] };
}

/** A guest can fail before its block begins (a backup limit that is reached): then it gets one here. */
function failGuest(log: VzdumpLog, text: string): VzdumpLog | null {
  const match = /^ERROR: Backup of VM (\d+) failed - (.*)$/s.exec(text);
  const vmid = tryVmid(match?.[1]);
  if (match === null || vmid === null) return null;
  const current = log.guests.at(-1);
  const said = (match[2] ?? '').trim();
  const complaint = current?.vmid === vmid ? current.complaint : null;
  const result = { kind: 'failed', reason: readableFailure(said, complaint), text: said } as const;
  if (current?.vmid === vmid && current.result === null)
    return withGuest(log, { ...current, capture: 'ended', result });
  return { ...log, guests: [...log.guests, { ...newGuest(vmid, null), capture: 'ended', result }] };
}

function withGuest(log: VzdumpLog, guest: GuestLog): VzdumpLog {
  const added = guest.warnings.slice(log.guests.at(-1)?.warnings.length ?? 0);
  return { ...log, guests: [...log.guests.slice(0, -1), guest], warnings: [...log.warnings, ...added] };
}

function withLooseWarning(log: VzdumpLog, text: string): VzdumpLog {
  const match = /^WARN(?:ING)?: (.*)$/s.exec(text);
  return match === null ? log : { ...log, warnings: [...log.warnings, match[1] ?? ''] };
}

function newGuest(vmid: Vmid, kind: GuestLog['kind']): GuestLog {
  return {
    vmid,
    kind,
    name: null,
    running: null,
    mode: null,
    fallback: null,
    capture: 'not-begun',
    proof: null,
    included: [],
    excluded: [],
    archive: null,
    volid: null,
    progress: { percent: null, bytes: null },
    sizes: { dataBytes: null, archiveBytes: null },
    notes: 'not-seen',
    prune: { retention: null, removed: [] },
    downtime: { kind: 'none', backOnline: true },
    warnings: [],
    complaint: null,
    result: null,
  };
}
