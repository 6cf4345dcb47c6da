import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';

export interface ManyGuests {
  url: string;
  token: string;
  fingerprint: string;
  node: string;
  stop(): Promise<void>;
}

const root = resolve(import.meta.dirname, '../..');

/** A simulated node with guests from 1000 on, in a process of its own: it must not share our event loop. */
export async function startManyGuests(folder: string, count: number): Promise<ManyGuests> {
  const guests = join(folder, 'guests');
  await mkdir(guests, { recursive: true });
  const args = ['--state', join(folder, 'sim'), '--guest', `1000-${999 + count}=${guests}`, '--delays', 'none'];
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', join(root, 'packages/pve-sim/src/main.ts'), '--listen', '127.0.0.1:0', ...args],
    { cwd: root, stdio: ['ignore', 'pipe', 'ignore'] },
  );
  const line = await new Promise<string>((done, fail) => {
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString('utf8');
      if (said.includes('\n')) done(said.slice(0, said.indexOf('\n')));
    });
    child.once('error', fail);
    child.once('close', (code) => fail(new Error(`the simulator ended with ${code}`)));
  });
  const ready = JSON.parse(line) as Omit<ManyGuests, 'stop'>;
  return {
    ...ready,
    stop: async () => {
      const ended = new Promise<void>((done) => child.once('close', () => done()));
      child.kill('SIGTERM');
      await ended;
    },
  };
}
