import { spawn } from 'node:child_process';
import { once } from 'node:events';

/**
 * Does `work` while holding an exclusive flock on `file`, across processes. The lock belongs to a child that lives as
 * long as our end of its pipe: if we die, it is free.
 */
export async function holdingTurn<T>(file: string, work: () => Promise<T>): Promise<T> {
  const holder = spawn('flock', ['-x', file, '-c', 'echo held; exec cat'], { stdio: ['pipe', 'pipe', 'ignore'] });
  try {
    await once(holder.stdout, 'data');
    return await work();
  } finally {
    holder.stdin.end();
  }
}
