import { readFileSync, statSync } from 'node:fs';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { endProcessesOf } from './end-processes.ts';
import { unmountBelow } from './unmount.ts';

/** Writes down who made a lab, so that a later one can tell that its maker is gone. */
export async function claimFolder(folder: string): Promise<void> {
  await writeFile(join(folder, 'maker'), `${process.pid} ${startTimeOf(process.pid) ?? ''}\n`);
}

/** Takes down labs whose maker was killed: their engines, mounts and files. */
export async function sweepDeadLabs(labs: string): Promise<void> {
  for (const name of await readdir(labs)) {
    const folder = join(labs, name);
    if (!name.startsWith('lab-') || isClaimed(folder)) continue;
    await endProcessesOf(folder);
    await unmountBelow(folder);
    await rm(folder, { recursive: true, force: true });
  }
}

function isClaimed(folder: string): boolean {
  try {
    const [pid, started] = readFileSync(join(folder, 'maker'), 'utf8').trim().split(' ');
    return startTimeOf(Number(pid)) === started;
  } catch {
    // Being made or removed this very moment, by a maker that lives; or forgotten half removed.
    return Date.now() - statSync(folder).mtimeMs < 600_000;
  }
}

/** Field 22 of /proc/PID/stat, which with the pid names a process for good. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
