import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { waitUntil } from './wait-until.ts';

const enginePrograms = /^(dockerd|containerd|containerd-shim\S*|docker-proxy|runc)$/;
const dataRoots = ['disk/docker', 'disk/guest/var/lib/docker'];

/**
 * Kills whatever belongs to the engine of the lab in `folder`, until nothing of it is left: the engine's own programs,
 * which name the folder in their arguments, and what runs in its containers, which is known by its cgroup.
 */
export async function endEngineBelow(folder: string): Promise<void> {
  const containers = await containersBelow(folder);
  await waitUntil(`nothing of the engine in ${folder} runs any more`, async () => {
    const found = await processesOf(folder, containers);
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

async function processesOf(folder: string, containers: readonly string[]): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(pids.map(async (pid) => ((await belongs(pid, folder, containers)) ? [pid] : [])));
  return found.flat();
}

/** A process that ends while we look has no files any more: it does not belong. */
async function belongs(pid: number, folder: string, containers: readonly string[]): Promise<boolean> {
  const read = async (file: string): Promise<string> => await readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '');
  const stat = await read('stat');
  const isZombie = stat === '' || stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z');
  if (isZombie) return false;
  const words = (await read('cmdline')).split('\0');
  const program = words[0]?.split('/').at(-1) ?? '';
  if (enginePrograms.test(program)) return words.some((word) => word.includes(`${folder}/`));
  const cgroup = await read('cgroup');
  return containers.some((id) => cgroup.includes(id));
}
