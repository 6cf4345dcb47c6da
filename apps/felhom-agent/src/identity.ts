import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';

/** Time first, so that job ids sort by age. */
export function newId(): string {
  return `${Date.now().toString(36)}-${randomBytes(8).toString('hex')}`;
}

/** Which boot of the host this is. */
export async function hostBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}
