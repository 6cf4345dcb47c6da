import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { waitUntil } from './wait-until.ts';

const dataRoots = ['disk/docker', 'disk/guest/var/lib/docker', 'var/lib/docker'];

/**
 * Kills whatever belongs to the lab in `folder`, until nothing of it is left: programs that name the folder in their
 * arguments (engine, shims, guards) or have a file of it open (workers of the simulator), and what runs in its
 * containers, known by its cgroup.
 * `named` narrows the first to programs that name a place in it.
 */
export async function endProcessesOf(folder: string, named = folder): Promise<void> {
  const containers = await containersBelow(folder);
  await waitUntil(`nothing of the lab in ${folder} runs any more`, async () => {
    const found = await processesOf(named, containers);
    for (const pid of found) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended meanwhile: what we wanted.
      }
    }
    return found.length === 0;
  });
}

async function containersBelow(folder: string): Promise<string[]> {
  const lists = dataRoots.map(async (root) => await readdir(join(folder, root, 'containers')).catch(() => []));
  return (await Promise.all(lists)).flat();
}

async function processesOf(named: string, containers: readonly string[]): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(pids.map(async (pid) => ((await belongs(pid, named, containers)) ? [pid] : [])));
  return found.flat();
}

/** A process that ends while we look has no files any more: it does not belong. */
async function belongs(pid: number, named: string, containers: readonly string[]): Promise<boolean> {
  const read = async (file: string): Promise<string> => await readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '');
  const stat = await read('stat');
  const isZombie = stat === '' || stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z');
  if (isZombie) return false;
  const words = (await read('cmdline')).split('\0');
  if (pid === process.pid) return false;
  if (words.some((word) => word.includes(`${named}/`)) || (await holdsOpen(pid, named))) return true;
  const cgroup = await read('cgroup');
  return containers.some((id) => cgroup.includes(id));
}

/** Whether a process has a file below `named` open: the locks and logs of a worker that says nothing in its arguments. */
async function holdsOpen(pid: number, named: string): Promise<boolean> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
  const links = descriptors.map(async (fd) => await readlink(`/proc/${pid}/fd/${fd}`).catch(() => ''));
  return (await Promise.all(links)).some((target) => target.startsWith(`${named}/`));
}
