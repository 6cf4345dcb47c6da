import { randomBytes } from 'node:crypto';
import { access, readFile } from 'node:fs/promises';
import type { Clock } from '@felhom/kernel/clock.ts';
import type { CommandRunner } from '@felhom/kernel/command.ts';
import type { SystemPort } from '../quiesce/ports.ts';

const askSystemdMs = 3_000;

/** This boot of this guest; Proxmox gives every container one of its own. */
export async function readBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

/** The machine around us. Where systemd is not the init, the guest never counts as shutting down. */
export function systemPort({ clock, commands }: { clock: Clock; commands: CommandRunner }): SystemPort {
  return {
    newRunId: () => {
      // To the millisecond: the newest run is the last one by its id, and two may begin within a second.
      const time = new Date(clock.nowMs()).toISOString().slice(0, 23).replaceAll(/[-:.]/g, '');
      return `${time}-${randomBytes(3).toString('hex')}`;
    },
    bootId: readBootId,
    isStopping: async () => {
      if (!(await exists('/run/systemd/system'))) return false;
      const { stdout } = await commands.run('systemctl', ['is-system-running'], { timeoutMs: askSystemdMs });
      return stdout.trim() === 'stopping';
    },
    syncData: async (paths, boundMs) => {
      const present: string[] = [];
      for (const path of paths) if (await exists(path)) present.push(path);
      if (present.length > 0) await commands.run('sync', ['-f', '--', ...present], { timeoutMs: boundMs });
    },
    ownContainerId: async () => {
      const mounts = await readFile('/proc/self/mountinfo', 'utf8').catch(() => ''); // No /proc: no container either.
      return /\/containers\/([0-9a-f]{64})\/(?:hostname|hosts|resolv\.conf)\s/.exec(mounts)?.[1] ?? null;
    },
  };
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
