import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { GuestRecord } from '../guests/guest-record.ts';
import type { StorageSpec } from '../options.ts';
import { pbsName, stamp } from '../storage/backup-names.ts';
import { dumpFolder, pbsArchive } from '../storage/backups.ts';
import type { Retention } from '../storage/retention.ts';
import { callHook, type HookPhase } from './hook.ts';
import type { VzdumpOptions } from './job.ts';
import { wait } from './programs.ts';
import type { Volume } from './volumes.ts';
import type { Worker } from './worker.ts';

/** What is settled for a whole job before its first guest. */
export interface JobSetup {
  worker: Worker;
  options: VzdumpOptions;
  storage: StorageSpec;
  retention: Retention;
}

/** Where the backup of one guest is written. */
export interface BackupPaths {
  /** What the log and the hook call the target: a path, or `ct/101/…Z` on pbs. */
  target: string;
  volid: string;
  /** The finished archive, and the file it grows in. */
  archive: string;
  growing: string;
  temporary: string;
  /** Null on pbs. */
  logfile: string | null;
  workingLog: string;
}

/** One guest's turn in a job. */
export interface BackupTask extends JobSetup {
  vmid: number;
  guest: GuestRecord;
  mode: VzdumpOptions['mode'];
  paths: BackupPaths;
  volumes: Volume[];
  /** Where the files to archive are. */
  source: string;
  /** Seconds since the epoch at which the guest went down; undefined when it never did. */
  stoppedAt: number | undefined;
  owes: { unlock: boolean; snapshot: boolean; resume: boolean; restart: boolean };
}

export function pathsOf(setup: JobSetup, guest: GuestRecord, at: Date): BackupPaths {
  const { storage, worker, options } = setup;
  const workingLog = join(worker.job.state, 'vzdump-logs', `${guest.kind}-${guest.vmid}.log`);
  mkdirSync(join(worker.job.state, 'vzdump-logs'), { recursive: true });
  if (storage.kind === 'pbs') {
    const name = pbsName(guest.kind, guest.vmid, at);
    const folder = join(storage.dir, name);
    return {
      target: name,
      volid: `${storage.id}:backup/${name}`,
      archive: join(folder, pbsArchive),
      growing: join(folder, `${pbsArchive}.part`),
      temporary: join(worker.job.state, 'tmp', `vzdumptmp${process.pid}_${guest.vmid}`),
      logfile: null,
      workingLog,
    };
  }
  const base = join(dumpFolder(storage), `vzdump-${guest.kind}-${guest.vmid}-${stamp(at)}`);
  const archive = `${base}.${guest.kind === 'lxc' ? 'tar' : 'vma'}${extensionOf(options.compress)}`;
  const file = archive.slice(archive.lastIndexOf('/') + 1);
  return {
    target: archive,
    volid: `${storage.id}:backup/${file}`,
    archive,
    growing: archive.replace(/\.[^.]+$/, '.dat'),
    temporary: `${base}.tmp`,
    logfile: `${base}.log`,
    workingLog,
  };
}

export function prepareFolders(paths: BackupPaths): void {
  rmSync(paths.temporary, { recursive: true, force: true });
  mkdirSync(join(paths.temporary, 'etc', 'vzdump'), { recursive: true });
  mkdirSync(join(paths.growing, '..'), { recursive: true });
  rmSync(paths.growing, { force: true });
  if (paths.logfile !== null) rmSync(paths.logfile, { force: true });
  rmSync(paths.workingLog, { force: true });
}

/** Calls the hook of a job for itself (`task` null) or for the guest at hand. Without a script nothing happens. */
export async function hook(
  setup: JobSetup,
  phase: HookPhase,
  task: BackupTask | null,
  signal?: AbortSignal,
): Promise<void> {
  const { options, storage, worker } = setup;
  if (options.script === null) return;
  await callHook({
    script: options.script,
    phase,
    storage: storage.id,
    dumpdir: storage.kind === 'pbs' ? null : dumpFolder(storage),
    guest: task === null ? null : { ...hookNames(task), mode: task.mode, vmid: task.vmid },
    line: (text) => worker.log.info(text),
    ...(signal === undefined ? {} : { signal }),
  });
}

/** Waits until at least `ms` have passed since `sinceMs` of the monotonic clock: the recorded pace. */
export async function pace(task: JobSetup, sinceMs: number, ms: number): Promise<void> {
  await wait(ms - (performance.now() - sinceMs), task.worker.signal);
}

/** The line after which a guest that was down runs again. */
export function logOnlineAgain(task: BackupTask): void {
  if (task.stoppedAt === undefined) return;
  const seconds = nowSeconds() - task.stoppedAt;
  task.worker.log.info(`guest is online again after ${seconds < 1 ? '<1' : seconds} seconds`);
}

export function nowSeconds(): number {
  return Math.floor(Date.now() / 1000);
}

function hookNames(task: BackupTask): { vmtype: string; hostname: string; target: string; logfile: string | null } {
  const name = task.guest.config[task.guest.kind === 'lxc' ? 'hostname' : 'name'];
  return {
    vmtype: task.guest.kind,
    hostname: name === undefined ? '' : String(name),
    target: task.paths.target,
    logfile: task.paths.logfile,
  };
}

function extensionOf(compress: VzdumpOptions['compress']): string {
  return { '0': '', zstd: '.zst', gzip: '.gz', lzo: '.lzo' }[compress];
}
