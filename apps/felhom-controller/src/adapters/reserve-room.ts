import { rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { formatBytes } from '@felhom/cli/quantity.ts';
import type { CommandRunner } from '@felhom/kernel/command.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import type { FilesPort } from '../upgrade/ports.ts';

const boundMs = 60_000;

/** Room that is set aside by files beside the data, one a file system (fallocate(1) of util-linux). */
export function roomOnDisk(commands: CommandRunner): Pick<FilesPort, 'roomFor' | 'reserve' | 'release'> {
  return {
    roomFor: placesFor,
    reserve: async (places, bytes) => {
      for (const place of places) {
        const { exitCode, stderr } = await commands.run('fallocate', ['--length', String(bytes), '--', place], {
          timeoutMs: boundMs,
        });
        // A file system that cannot set room aside (ZFS, NFS) does without: the gate has looked at what is free.
        if (exitCode !== 0 && /no space|quota/i.test(stderr)) throw noSpace(dirname(place), bytes);
      }
    },
    release: async (places) => {
      for (const place of places) {
        await rm(place, { force: true });
        // Some file systems count the room as free only once this is on the disk.
        await commands.run('sync', ['-f', '--', dirname(place)], { timeoutMs: boundMs });
      }
    },
  };
}

/** Beside the first folder of each file system; beside, because what lies in it is the app's. */
async function placesFor(stack: string, folders: readonly string[]): Promise<string[]> {
  const byDevice = new Map<number, string>();
  for (const folder of folders) {
    const [own, above] = [await stat(folder), await stat(dirname(folder))];
    if (own.dev === above.dev && !byDevice.has(own.dev))
      byDevice.set(own.dev, join(dirname(folder), `.felhom-room-${stack}-${basename(folder)}`));
  }
  return [...byDevice.values()];
}

function noSpace(folder: string, bytes: number): Failure {
  return new Failure('no_space', {
    message: `the way back needs ${formatBytes(bytes)} beside ${folder}, and they are not there; nothing was stopped`,
    hint: 'Make room (df -h; docker system df), then run the same command again.',
  });
}
