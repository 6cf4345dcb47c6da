import { randomUUID } from 'node:crypto';
import { mkdir, readFile, realpath, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parse, stringify } from 'yaml';
import type { Lab } from './lab.ts';
import { must, type RunEnd, run } from './process.ts';
import { controllerProgram, repository } from './programs.ts';
import { waitUntil } from './wait-until.ts';

/*
 * The guest's own system: systemd as PID 1 in a container of the machine's engine, with the controller and its units
 * installed as the package would, and the lab's engine as the guest's docker.
 *
 * - `docker.service` is a unit of the test that waits until the lab's engine answers.
 * - /etc/felhom and /var/lib/felhom are the folders on the guest's disk, so they are in every backup.
 * - A boot of the guest is a start of engine and container together: `boot`; `powerOff` ends both.
 */

const image = 'felhom/debian:test';

export interface SystemdGuest {
  name: string;
  /** Runs a program in the guest. */
  exec(...command: string[]): Promise<RunEnd>;
  /** The same; throws unless it ends 0. */
  mustExec(...command: string[]): Promise<string>;
  /** Starts engine and system, and waits until systemd has finished booting. */
  boot(): Promise<void>;
  /** `systemctl poweroff`, as a shutdown task of the host does; then the engine is ended too. */
  powerOff(): Promise<void>;
  /** The power is cut: nothing in the guest gets a chance. */
  cutPower(): Promise<void>;
  /** The pid of a unit's main process as the guest sees it. */
  mainPid(unit: string): Promise<number>;
  journal(unit: string): Promise<string>;
  destroy(): Promise<void>;
}

const units = [
  'felhom-controller-watch.service',
  'felhom-controller-recover.service',
  'felhom-controller-recover.timer',
  'felhom-controller-boot.service',
  'felhom-controller-reconcile.service',
];

/** Makes the system of a lab's guest; `boot` starts it. `enabled`: which of our units are enabled. */
export async function makeSystemdGuest(lab: Lab, enabled: readonly string[]): Promise<SystemdGuest> {
  const name = `felhom-guest-${randomUUID()}`;
  const etc = join(lab.folder, 'guest-etc');
  await writeConfiguration(lab, etc);
  await must('docker', ['create', '--name', name, ...containerFlags(lab, etc), image, '/sbin/init']);
  const exec = async (...command: string[]): Promise<RunEnd> => await run('docker', ['exec', name, ...command]);
  const mustExec = async (...command: string[]): Promise<string> => await must('docker', ['exec', name, ...command]);
  await install(lab, name, enabled);

  const guest: SystemdGuest = {
    name,
    exec,
    mustExec,
    boot: async () => {
      if (!(await lab.engine.isUp())) await lab.engine.start();
      await must('docker', ['start', name]);
      await waitUntil(
        'the guest has booted',
        async () => {
          const state = (await exec('systemctl', 'is-system-running')).stdout.trim();
          if (state === 'degraded')
            throw new Error(`a unit failed at boot:\n${(await exec('systemctl', '--failed')).stdout}`);
          return state === 'running';
        },
        { boundMs: 60_000 },
      );
    },
    powerOff: async () => {
      await exec('systemctl', 'poweroff');
      await waitUntil(
        'the guest is off',
        async () => (await must('docker', ['inspect', '--format', '{{.State.Running}}', name])).trim() === 'false',
        { boundMs: 60_000 },
      );
      await lab.engine.stop();
    },
    cutPower: async () => {
      await must('docker', ['kill', name]);
      await lab.engine.powerCut();
    },
    mainPid: async (unit) =>
      Number((await mustExec('systemctl', 'show', '--property', 'MainPID', '--value', unit)).trim()),
    journal: async (unit) => (await exec('journalctl', '--no-pager', '--unit', unit)).stdout,
    destroy: async () => void (await run('docker', ['rm', '--force', '--volumes', name])),
  };
  return guest;
}

/** The lab's configuration of the controller, with the places that the units know. */
async function writeConfiguration(lab: Lab, etc: string): Promise<void> {
  await mkdir(etc, { recursive: true });
  const config: Record<string, unknown> = parse(await readFile(join(lab.guest, 'etc/felhom/controller.yaml'), 'utf8'));
  await writeFile(join(etc, 'token'), await readFile(join(lab.guest, 'etc/felhom/token'), 'utf8'), { mode: 0o600 });
  const places = { token_file: '/etc/felhom/token', state_dir: '/var/lib/felhom', run_dir: '/run/felhom' };
  await writeFile(join(etc, 'controller.yaml'), stringify({ ...config, ...places }), { mode: 0o600 });
}

function containerFlags(lab: Lab, etc: string): string[] {
  const flags = {
    system: ['--hostname', 'docker1', '--env', 'container=docker', '--stop-signal', 'SIGRTMIN+3', '--network', 'host'],
    rights: ['--cap-add', 'SYS_ADMIN', '--security-opt', 'seccomp=unconfined', '--security-opt', 'apparmor=unconfined'],
    places: ['--volume', '/sys/fs/cgroup:/sys/fs/cgroup', '--cgroupns', 'host', '--tmpfs', '/run', '--tmpfs', '/tmp'],
    // The same path inside and outside: what Compose recorded about a project must be true in both.
    lab: ['--volume', `${lab.folder}:${lab.folder}`, '--volume', `${etc}:/etc/felhom:ro`],
    state: ['--volume', `${join(lab.guest, 'var/lib/felhom')}:/var/lib/felhom`],
    program: ['--volume', `${dirname(controllerProgram)}:/usr/lib/felhom-controller:ro`],
  };
  return Object.values(flags).flat();
}

/** Node, docker and our program where the units expect them; the units; what of them is enabled. */
async function install(lab: Lab, name: string, enabled: readonly string[]): Promise<void> {
  const root = join(lab.folder, 'guest-root');
  for (const folder of ['usr/bin', 'usr/local/bin', 'etc/systemd/system'])
    await mkdir(join(root, folder), { recursive: true });
  const programs = [
    [await realpath(process.execPath), 'usr/local/bin/node'],
    [(await must('sh', ['-c', 'readlink -f "$(command -v docker)"'])).trim(), 'usr/local/bin/docker'],
  ] as const;
  for (const [from, to] of programs) await must('cp', [from, join(root, to)]);
  await must('ln', [
    '-sfn',
    '/usr/lib/felhom-controller/felhom-controller.js',
    join(root, 'usr/bin/felhom-controller'),
  ]);
  for (const unit of units)
    await must('cp', [join(repository, 'packaging/systemd', unit), join(root, 'etc/systemd/system')]);
  await writeFile(join(root, 'etc/systemd/system/docker.service'), dockerUnit(lab.engine.socket));
  await writeFile(join(root, 'etc/machine-id'), `${randomUUID().replaceAll('-', '')}\n`);
  await must('ln', ['-sfn', '/dev/null', join(root, 'etc/systemd/system/systemd-firstboot.service')]);
  await enable(root, ['docker.service', ...enabled]);
  await must('docker', ['cp', `${root}/.`, `${name}:/`]);
}

async function enable(root: string, wanted: readonly string[]): Promise<void> {
  for (const unit of wanted) {
    const text = await readFile(join(root, 'etc/systemd/system', unit), 'utf8');
    const target = /^WantedBy=(\S+)$/m.exec(text)?.[1];
    if (target === undefined) throw new Error(`${unit} says nothing of who wants it: it cannot be enabled`);
    const wants = join(root, 'etc/systemd/system', `${target}.wants`);
    await mkdir(wants, { recursive: true });
    await must('ln', ['-sfn', `../${unit}`, join(wants, unit)]);
  }
}

/** Stands for the guest's docker.service: active once the lab's engine answers at the usual place. */
function dockerUnit(socket: string): string {
  return `[Unit]
Description=The engine of the test
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/ln -sfn ${socket} /run/docker.sock
ExecStart=/bin/sh -c 'until docker version >/dev/null 2>&1; do sleep 0.1; done'
TimeoutStartSec=60
[Install]
WantedBy=multi-user.target
`;
}
