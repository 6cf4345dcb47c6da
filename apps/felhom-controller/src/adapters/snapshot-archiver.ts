import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { CommandOptions, CommandResult, CommandRunner } from '@felhom/kernel/command.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import type { Archiver, Measure } from '../volume-snapshots/ports.ts';
import { lineSplitter, parseMember } from '../volume-snapshots/tar-listing.ts';
import { digestTree, treeMembers } from './snapshot-tree.ts';

/** As long as copying may take at most; an abort ends it sooner. */
const copyMs = 24 * 3_600_000;
const pushEveryMs = 250;

/** Owners by number, modes, ACLs and extended attributes; holes stay holes; what is mounted below stays out. */
const faithful = ['--numeric-owner', '--acls', '--xattrs', '--xattrs-include=*'];

/** The system's tar, zstd, cp and find, for real. */
export function systemArchiver(commands: CommandRunner): Archiver {
  const run = async (
    file: string,
    args: readonly string[],
    options: Partial<CommandOptions> = {},
  ): Promise<CommandResult> =>
    // Words that we read are English ones.
    await commands.run(file, args, { timeoutMs: copyMs, env: { ...ourEnvironment(), LC_ALL: 'C' }, ...options });

  return {
    measure: async (folder) => {
      const tally = newTally();
      const split = nulSplitter(tally.take);
      const flags = ['-ignore_readdir_race', '-xdev', '-printf', String.raw`%y %b %n %i %P\0`];
      const end = await run('find', [folder, ...flags], { onStdout: split.take });
      requireEnd(end, `${folder} cannot be looked through`);
      return tally.found();
    },
    canShare: async (folder, into) => {
      const first = await run('find', [folder, '-xdev', '-type', 'f', '-size', '+0', '-print0', '-quit']);
      const file = first.stdout.split('\0')[0] ?? '';
      if (first.exitCode !== 0 || file === '') return false;
      const probe = join(into, `.probe-${process.pid}`);
      const { exitCode } = await run('cp', ['--reflink=always', '--no-target-directory', '--', file, probe]);
      await unlink(probe).catch(() => undefined); // Nothing was made where blocks cannot be shared.
      return exitCode === 0;
    },
    capture: async (folder, into, method, { signal, pushToDisk = false } = {}) => {
      const options = signal === undefined ? {} : { signal };
      if (method === 'tree') return await captureTree(run, folder, into, options);
      const done = new AbortController();
      const pushing = pushToDisk ? pushUntil(into, done.signal) : Promise.resolve();
      const flags = ['--create', '--format=posix', '--sparse', '--one-file-system', ...faithful];
      const how = ['--use-compress-program', 'zstd -T0 -q', '--file', into, '--directory', folder, '.'];
      const end = await run('tar', [...flags, ...how], options);
      done.abort();
      await pushing;
      requireEnd(end, `${folder} could not be read into an archive`);
    },
    digest: async (stored, method) => (method === 'tree' ? await digestTree(stored) : await digestFile(stored)),
    members: async (stored, method, onMember) => {
      if (method === 'tree') return await treeMembers(stored, onMember);
      const wrong: string[] = [];
      const lines = lineSplitter((line) => {
        const member = parseMember(line);
        if (member !== null) onMember(member);
        else if (wrong.length === 0) wrong.push(line);
      });
      // Without --absolute-names tar leaves the first slash of a hard link's target out of its list.
      const flags = ['--list', '--verbose', '--absolute-names', '--numeric-owner', '--quoting-style=c', '--zstd'];
      const end = await run('tar', [...flags, '--file', stored], { onStdout: lines.take });
      lines.end();
      if (end.exitCode !== 0) throw unreadable(lastLine(end));
      if (wrong[0] !== undefined) throw unreadable(`its list has a line of no known form: ${wrong[0]}`);
    },
    unpack: async (stored, into, method, { inheritFds, signal }) => {
      const options = { inheritFds, ...(signal === undefined ? {} : { signal }) };
      const tree = ['-a', '--reflink=auto', '--one-file-system', '--no-target-directory', '--', stored, into];
      const archive = ['--extract', '--zstd', ...faithful, '--file', stored, '--directory', into];
      const end = await (method === 'tree' ? run('cp', tree, options) : run('tar', archive, options));
      requireEnd(end, `${stored} could not be unpacked`);
    },
  };
}

type Run = (file: string, args: readonly string[], options?: Partial<CommandOptions>) => Promise<CommandResult>;

/** Sockets are copied by cp like anything else; nobody can keep one. */
async function captureTree(run: Run, folder: string, into: string, options: Partial<CommandOptions>): Promise<void> {
  const flags = ['-a', '--reflink=always', '--one-file-system', '--no-target-directory', '--'];
  requireEnd(await run('cp', [...flags, folder, into], options), `${folder} could not be copied`);
  requireEnd(await run('find', [into, '-type', 's', '-delete'], options), `sockets could not be left out of ${into}`);
}

/**
 * Has the disk write what tar has written so far, again and again: what is left at the end, when somebody waits for it to
 * be durable, is little.
 */
async function pushUntil(path: string, done: AbortSignal): Promise<void> {
  while (!done.aborted) {
    await pause(done);
    try {
      const handle = await open(path, constants.O_WRONLY);
      try {
        await handle.datasync();
      } finally {
        await handle.close();
      }
    } catch {
      // Not there yet, or a disk that fails: whoever makes it durable at the end will say so.
    }
  }
}

async function pause(done: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      done.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, pushEveryMs);
    done.addEventListener('abort', end);
  });
}

async function digestFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk);
  return hash.digest('hex');
}

/** Adds up what find prints: kind, blocks of 512 bytes, names, inode, path. */
function newTally(): { take: (entry: string) => void; found: () => Measure } {
  const found: Measure = { bytes: 0, entries: 0, sockets: [], devices: [] };
  const linked = new Set<string>();
  return {
    found: () => found,
    take: (entry) => {
      const [kind = '', blocks = '0', names = '1', inode = '', ...words] = entry.split(' ');
      found.entries += 1;
      if (kind === 's') found.sockets.push(words.join(' '));
      if (kind === 'b' || kind === 'c') found.devices.push(words.join(' '));
      if (kind !== 'd' && names !== '1') {
        if (linked.has(inode)) return;
        linked.add(inode);
      }
      found.bytes += Number(blocks) * 512;
    },
  };
}

function nulSplitter(onEntry: (entry: string) => void): { take: (chunk: Uint8Array) => void } {
  const decoder = new TextDecoder();
  let rest = '';
  return {
    take: (chunk) => {
      const entries = (rest + decoder.decode(chunk, { stream: true })).split('\0');
      rest = entries.pop() ?? '';
      for (const entry of entries) onEntry(entry);
    },
  };
}

function requireEnd(end: CommandResult, what: string): void {
  if (end.exitCode === 0) return;
  const why = end.timedOut ? 'it took too long' : lastLine(end);
  const isFull = /No space left on device|Disk quota exceeded/.test(end.stderr);
  throw new Failure(isFull ? 'no_space' : 'operation_failed', {
    message: `${what}: ${isFull ? 'the disk is full' : why}`,
    hint: isFull ? 'Make room (df -h), then run the same command again.' : 'Look at: dmesg, df, mount; then try again.',
  });
}

function lastLine({ stderr, spawnError, signal }: CommandResult): string {
  const lines = stderr
    .split('\n')
    .filter((line) => line !== '' && !/socket ignored|Exiting with failure|Error is not recoverable/.test(line));
  return spawnError?.message ?? lines.at(-1) ?? (signal === null ? 'no reason was given' : `it was ended by ${signal}`);
}

function unreadable(why: string): Failure {
  return new Failure('snapshot_damaged', {
    message: `cannot be read to its end (${why})`,
    hint: 'Take another snapshot; look at the disk that holds it (dmesg).',
  });
}

function ourEnvironment(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(process.env).filter(
      // What would change how tar and zstd work.
      (entry): entry is [string, string] => entry[1] !== undefined && !/^(TAR_|ZSTD_|POSIXLY_)/.test(entry[0]),
    ),
  );
}
