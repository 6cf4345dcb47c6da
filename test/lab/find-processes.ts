import { readdir, readFile } from 'node:fs/promises';

/** The ids of processes whose arguments satisfy `fits`. */
export async function findProcesses(fits: (words: readonly string[]) => boolean): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = pids.map(async (pid) => {
    const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0'); // It has ended: no words.
    return fits(words) ? [Number(pid)] : [];
  });
  return (await Promise.all(found)).flat();
}
