import { mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderConfig } from '../guests/guest-config.ts';
import { ownFolder } from '../guests/volume-snapshot.ts';
import type { BackupTask } from './backup-task.ts';
import { runProgram, wait } from './programs.ts';

/** What was ordered to go wrong with an archive. */
export interface ArchiveOrders {
  /** Why it fails; null when it does not. */
  failure: string | null;
  full: boolean;
  slowMs: number;
}

/** Taken before the archive is announced: who sees the announcement can rely on the orders having struck. */
export function takeArchiveOrders({ worker, vmid, storage }: BackupTask): ArchiveOrders {
  const ofGuest = (fault: { vmid?: number | undefined }): boolean => fault.vmid === undefined || fault.vmid === vmid;
  const ofStorage = (fault: { storage?: string | undefined }): boolean =>
    fault.storage === undefined || fault.storage === storage.id;
  return {
    failure: worker.faults.take('fail_archive', ofGuest)?.text ?? null,
    full: worker.faults.take('storage_full', ofStorage) !== null,
    slowMs: worker.faults.take('slow_archive', ofGuest)?.ms ?? 0,
  };
}

export interface WrittenArchive {
  /** What tar said. */
  lines: string[];
  bytes: number;
  seconds: number;
}

/** Writes the archive of the task's source and renames it to its final name. */
export async function writeArchive(task: BackupTask, orders: ArchiveOrders): Promise<WrittenArchive> {
  const began = performance.now();
  saveConfig(task);
  const lines = await runTar(task, orders);
  const bytes = Number(/Total bytes written: (\d+)/.exec(lines.join('\n'))?.[1] ?? 0);
  await slowDown(task, orders.slowMs, bytes, began);
  renameSync(task.paths.growing, task.paths.archive);
  return { lines, bytes, seconds: (performance.now() - began) / 1000 };
}

/** As vzdump prints the size of a finished archive. */
export function describeSize(path: string): string {
  const kib = statSync(path).size / 1024;
  if (kib < 1024) return `${Math.floor(kib)}KB`;
  if (kib < 1024 ** 2) return `${Math.floor(kib / 1024)}MB`;
  return `${(kib / 1024 ** 2).toFixed(2)}GB`;
}

/** The saved configuration travels in the archive, as `./etc/vzdump/pct.conf` (a VM's as `qemu-server.conf`). */
export function savedConfigName(kind: 'lxc' | 'qemu'): string {
  return kind === 'lxc' ? './etc/vzdump/pct.conf' : './etc/vzdump/qemu-server.conf';
}

function saveConfig(task: BackupTask): void {
  const { config, description } = task.guest;
  const folder = join(task.paths.temporary, 'etc', 'vzdump');
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(task.paths.temporary, savedConfigName(task.guest.kind)),
    renderConfig({ config, description, pending: {}, snapshots: {} }),
  );
  writeFileSync(join(folder, 'pct.fw'), '');
}

/** The pipeline as vzdump's log names it when it fails, with our paths in it. */
function pipelineOf(task: BackupTask): { tar: string[]; compressor: string[]; label: string } {
  const tar = [
    'tar',
    'cpf',
    '-',
    '--totals',
    '--one-file-system',
    '-p',
    '--sparse',
    '--numeric-owner',
    '--acls',
    '--xattrs',
  ];
  tar.push(
    '--xattrs-include=user.*',
    '--xattrs-include=security.capability',
    '--warning=no-file-ignored',
    '--warning=no-xattr-write',
  );
  tar.push(
    `--directory=${task.paths.temporary}`,
    savedConfigName(task.guest.kind),
    './etc/vzdump/pct.fw',
    `--directory=${task.source}`,
  );
  tar.push(
    '--no-anchored',
    '--exclude=lost+found',
    '--anchored',
    ...excludes(task).map((path) => `--exclude=${path}`),
    './',
  );
  const compressor = compressorOf(task.options.compress);
  const quoted = tar.map((word) => (/^[\w!%+,\-./:@^]+$/.test(word) ? word : `'${word}'`)).join(' ');
  const throttle = task.options.bwlimit > 0 ? ` | cstream -t ${task.options.bwlimit * 1024}` : '';
  const compress =
    compressor.length === 0
      ? ''
      : ` | ${compressor.map((word) => (word.startsWith('--') ? `'${word}'` : word)).join(' ')}`;
  return { tar, compressor, label: `set -o pipefail && ${quoted}${throttle}${compress} >${task.paths.growing}` };
}

async function runTar(task: BackupTask, orders: ArchiveOrders): Promise<string[]> {
  const { worker, paths } = task;
  const { tar, compressor, label } = pipelineOf(task);
  if (orders.failure !== null) throw new Error(`command '${label}' failed: ${orders.failure}`);
  if (orders.full) {
    worker.log.info('zstd: error 70 : Write error : cannot write block : No space left on device ');
    throw new Error(`command '${label}' failed: exit code 70`);
  }
  const lines: string[] = [];
  const script = compressor.length === 0 ? '"${@:3}" >"$1"' : '"${@:3}" | $2 >"$1"';
  const args = ['-o', 'pipefail', '-c', script, 'archive', paths.growing, compressor.join(' '), ...tar];
  try {
    await runProgram('bash', args, { label, line: (text) => lines.push(text), signal: worker.signal });
  } catch (error) {
    for (const line of lines) if (!line.startsWith('Total bytes')) worker.log.info(line);
    throw error;
  }
  return lines;
}

/** A bandwidth limit, or an ordered delay: the archive is there, but is not finished before its time. */
async function slowDown(task: BackupTask, orderedMs: number, bytes: number, beganMs: number): Promise<void> {
  const { worker, options } = task;
  const limitMs = options.bwlimit > 0 ? (bytes / (options.bwlimit * 1024)) * 1000 : 0;
  try {
    await wait(Math.max(limitMs, orderedMs) - (performance.now() - beganMs), worker.signal);
  } catch {
    throw new Error(`command '${pipelineOf(task).label}' failed: interrupted by signal`);
  }
}

function compressorOf(compress: BackupTask['options']['compress']): string[] {
  return { '0': [], zstd: ['zstd', '-q', '--threads=1'], gzip: ['gzip', '--rsyncable'], lzo: ['lzop'] }[compress];
}

/** vzdump's own exclusions, the job's, and volumes that stay out of the backup. */
function excludes(task: BackupTask): string[] {
  const standard = task.options.stdexcludes ? ['/tmp/?*', '/var/tmp/?*', '/var/run/?*.pid'] : [];
  const volumes = task.volumes.filter((volume) => !volume.included).map((volume) => `${volume.mountPoint}/?*`);
  const paths = [...task.options.excludePaths, ...standard, ...volumes];
  return [...paths.map((path) => (path.startsWith('/') ? `.${path}` : path)), `./${ownFolder}`];
}
