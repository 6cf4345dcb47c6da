import { access, constants } from 'node:fs/promises';
import type { CommandResult, CommandRunner } from '@felhom/kernel/command.ts';
import type { ArchiveReading, Archives, TargetBackup } from './ports.ts';

/** The longest that one archive is read for. */
const longestReadMs = 24 * 3_600_000;

/**
 * Reads archives from beginning to end. PVE's API has no call for that, so where the archive is a file that we may
 * read, the program that would unpack it lists it (tar), or its compressor checks it (a VM's vma: what is inside is
 * not looked at). PBS verifies by itself: its verdict counts, where it has one. Anything else is `unproven`.
 */
export function archiveReader(commands: CommandRunner): Archives {
  return {
    read: async (backup, signal) => {
      if (backup.verification === 'ok') return { kind: 'whole', how: 'verified by its storage' };
      if (backup.verification === 'failed')
        return { kind: 'unreadable', why: `its storage found ${backup.volid} damaged` };
      const { path } = backup;
      const check = path === null ? null : checkOf(path);
      if (path === null || check === null) return unproven(backup, 'it is not a file on this node');
      const denied = await access(path, constants.R_OK).then(
        () => null,
        (error: unknown) => (error instanceof Error ? error.message : String(error)),
      );
      if (denied !== null) return unproven(backup, denied);
      const [program, ...args] = check;
      const result = await commands.run(program, [...args, path], {
        timeoutMs: longestReadMs,
        maxOutputBytes: 4096,
        env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
        ...(signal === undefined ? {} : { signal }),
      });
      return judge(backup, result, program);
    },
  };
}

/** The program that reads such a file as a whole and changes nothing, without the path; null for an unknown kind. */
function checkOf(path: string): readonly [string, ...string[]] | null {
  return readers.find(([ending]) => path.endsWith(ending))?.[1] ?? null;
}

const readers: readonly (readonly [string, readonly [string, ...string[]]])[] = [
  ['.tar', ['tar', '-tf']],
  ['.tar.zst', ['tar', '--zstd', '-tf']],
  ['.tar.gz', ['tar', '--gzip', '-tf']],
  ['.tar.lzo', ['tar', '--lzop', '-tf']],
  ['.vma.zst', ['zstd', '-q', '-t']],
  ['.vma.gz', ['gzip', '-t']],
  ['.vma.lzo', ['lzop', '-t']],
];

function judge(backup: TargetBackup, result: CommandResult, program: string): ArchiveReading {
  if (result.exitCode === 0) return { kind: 'whole', how: `read by ${program}` };
  if (result.spawnError !== undefined)
    return unproven(backup, `${program} cannot be run: ${result.spawnError.message}`);
  if (result.exitCode === null) return unproven(backup, `${program} did not come to its end`);
  const said =
    result.stderr.split('\n').find((line) => line.trim() !== '') ?? `${program} ended with ${result.exitCode}`;
  return { kind: 'unreadable', why: `${backup.volid} cannot be read to its end: ${said}` };
}

function unproven({ volid }: TargetBackup, why: string): ArchiveReading {
  return { kind: 'unproven', why: `whether ${volid} can be read to its end is not known: ${why}` };
}
