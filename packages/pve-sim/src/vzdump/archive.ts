import { mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderConfig } from '../guests/guest-config.ts';
import { ownFolder } from '../guests/volume-snapshot.ts';
import type { BackupTask } from './backup-task.ts';
import { runProgram, wait } from './programs.ts';

/** Writes the archive of the task's source and renames it to its final name. Answers what tar said, and the seconds it took. */
export async function writeArchive(task: BackupTask): Promise<{ lines: string[]; bytes: number; seconds: number }> {
  const began = performance.now();
  saveConfig(task);
  const lines = await runTar(task);
  const bytes = Number(/Total bytes written: (\d+)/.exec(lines.join('\n'))?.[1] ?? 0);
  await slowDown(task, bytes, began);
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

async function runTar(task: BackupTask): Promise<string[]> {
  const { worker, paths, vmid, storage } = task;
  const failure = worker.faults.take('fail_archive', (fault) => fault.vmid === undefined || fault.vmid === vmid);
  const full = worker.faults.take(
    'storage_full',
    (fault) => fault.storage === undefined || fault.storage === storage.id,
  );
  const { tar, compressor, label } = pipelineOf(task);
  if (failure !== null) throw new Error(`command '${label}' failed: ${failure.text}`);
  if (full !== null) {
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
async function slowDown(task: BackupTask, bytes: number, beganMs: number): Promise<void> {
  const { worker, options, vmid } = task;
  const order = worker.faults.take('slow_archive', (fault) => fault.vmid === undefined || fault.vmid === vmid);
  const limitMs = options.bwlimit > 0 ? (bytes / (options.bwlimit * 1024)) * 1000 : 0;
  try {
    await wait(Math.max(limitMs, order?.ms ?? 0) - (performance.now() - beganMs), worker.signal);
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
