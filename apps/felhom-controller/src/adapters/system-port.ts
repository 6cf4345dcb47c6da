import { randomBytes } from 'node:crypto';
import { access, readFile } from 'node:fs/promises';
import { readProcessStat } from '@felhom/durable/process-stat.ts';
import type { Clock } from '@felhom/kernel/clock.ts';
import type { CommandRunner } from '@felhom/kernel/command.ts';
import type { SystemPort } from '../quiesce/ports.ts';

const askSystemdMs = 3_000;

/** This boot of this guest; Proxmox VE gives every container one of its own, other hosts may not. */
export async function readBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

/**
 * When PID 1 of this guest started, in the kernel's ticks: containers of one host may share the kernel's boot id, and a copy
 * that runs beside its original was started at another moment. Null where it is not the guest's: in a container of the
 * guest's own engine, whose controllers would each tell another one.
 */
export async function readBootStart(): Promise<string | null> {
  if ((await ownContainerId()) !== null) return null;
  return (await readProcessStat(1))?.startTime ?? null;
}

/**
 * This boot as the init of the guest knows it. With systemd that is its own start; elsewhere PID 1 may be a program in
 * a container that starts again and again, so only the kernel's boot counts.
 */
export async function readInitBoot(): Promise<string> {
  const bootId = await readBootId();
  if (!(await exists('/run/systemd/system'))) return bootId;
  return `${bootId} ${(await readProcessStat(1))?.startTime ?? ''}`;
}

async function ownContainerId(): Promise<string | null> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8').catch(() => ''); // No /proc: no container either.
  return containerIdIn(mounts);
}

/** The engine's container whose files are mounted here (proc_pid_mountinfo(5)), or null. */
export function containerIdIn(mountinfo: string): string | null {
  return /\/containers\/([0-9a-f]{64})\/(?:hostname|hosts|resolv\.conf)\s/.exec(mountinfo)?.[1] ?? null;
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
    ownContainerId,
  };
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
