import { randomUUID } from 'node:crypto';
import { mkdir, readFile, realpath, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { must, type RunEnd, run } from './process.ts';
import { repository } from './programs.ts';
import { waitUntil } from './wait-until.ts';

/*
 * A system of its own: systemd as PID 1 in a container of the machine's engine, on the machine's network, with Node and
 * our units installed as the package would.
 */

const image = 'felhom/debian:test';

export interface SystemdContainer {
  name: string;
  /** Runs a program in it. */
  exec(...command: string[]): Promise<RunEnd>;
  /** The same; throws unless it ends 0. */
  mustExec(...command: string[]): Promise<string>;
  /** Starts the system, and waits until systemd has finished booting. */
  start(): Promise<void>;
  /** Properties of a unit, as `systemctl show` names them. */
  show(unit: string, ...properties: string[]): Promise<Record<string, string>>;
  journal(unit: string): Promise<string>;
  destroy(): Promise<void>;
}

export interface SystemdContainerRequest {
  hostname: string;
  /** Where its files are put together before they are copied into it. */
  root: string;
  /** As docker takes them: `/here:/there:ro`. */
  volumes: readonly string[];
  /** Files of packaging/systemd that are installed. */
  units: readonly string[];
  /** Units of `root` that are wanted at boot. */
  enabled: readonly string[];
}

/** Makes it; `root` holds what the caller wants in it besides. */
export async function makeSystemdContainer(request: SystemdContainerRequest): Promise<SystemdContainer> {
  const name = `felhom-system-${randomUUID()}`;
  await must('docker', ['create', '--name', name, ...flags(request), image, '/sbin/init']);
  const exec = async (...command: string[]): Promise<RunEnd> => await run('docker', ['exec', name, ...command]);
  const mustExec = async (...command: string[]): Promise<string> => await must('docker', ['exec', name, ...command]);
  await install(request);
  await must('docker', ['cp', `${request.root}/.`, `${name}:/`]);
  const isBooted = async (): Promise<boolean> => {
    const state = (await exec('systemctl', 'is-system-running')).stdout.trim();
    if (state === 'degraded')
      throw new Error(`a unit failed at boot:\n${(await exec('systemctl', '--failed')).stdout}`);
    return state === 'running';
  };
  return {
    name,
    exec,
    mustExec,
    start: async () => {
      await must('docker', ['start', name]);
      await waitUntil(`${request.hostname} has booted`, isBooted, { boundMs: 60_000 });
    },
    show: async (unit, ...properties) => {
      const text = await mustExec('systemctl', 'show', `--property=${properties.join(',')}`, unit);
      return Object.fromEntries(text.split('\n').map((line) => line.split(/=(.*)/s).slice(0, 2)));
    },
    journal: async (unit) => (await exec('journalctl', '--no-pager', '--unit', unit)).stdout,
    destroy: async () => void (await run('docker', ['rm', '--force', '--volumes', name])),
  };
}

function flags({ hostname, volumes }: SystemdContainerRequest): string[] {
  const groups = {
    system: ['--hostname', hostname, '--env', 'container=docker', '--stop-signal', 'SIGRTMIN+3', '--network', 'host'],
    rights: ['--cap-add', 'SYS_ADMIN', '--security-opt', 'seccomp=unconfined', '--security-opt', 'apparmor=unconfined'],
    places: ['--volume', '/sys/fs/cgroup:/sys/fs/cgroup', '--cgroupns', 'host', '--tmpfs', '/run', '--tmpfs', '/tmp'],
    volumes: volumes.flatMap((volume) => ['--volume', volume]),
  };
  return Object.values(groups).flat();
}

/** Node and our units, and what of them is enabled. */
async function install({ root, units, enabled }: SystemdContainerRequest): Promise<void> {
  for (const folder of ['usr/bin', 'usr/local/bin', 'etc/systemd/system'])
    await mkdir(join(root, folder), { recursive: true });
  await must('cp', [await realpath(process.execPath), join(root, 'usr/local/bin/node')]);
  for (const unit of units)
    await must('cp', [join(repository, 'packaging/systemd', unit), join(root, 'etc/systemd/system')]);
  await writeFile(join(root, 'etc/machine-id'), `${randomUUID().replaceAll('-', '')}\n`);
  await must('ln', ['-sfn', '/dev/null', join(root, 'etc/systemd/system/systemd-firstboot.service')]);
  for (const unit of enabled) await enable(root, unit);
}

async function enable(root: string, unit: string): Promise<void> {
  const text = await readFile(join(root, 'etc/systemd/system', unit), 'utf8');
  const target = /^WantedBy=(\S+)$/m.exec(text)?.[1];
  if (target === undefined) throw new Error(`${unit} says nothing of who wants it: it cannot be enabled`);
  const wants = join(root, 'etc/systemd/system', `${target}.wants`);
  await mkdir(wants, { recursive: true });
  await must('ln', ['-sfn', `../${unit}`, join(wants, unit)]);
}
