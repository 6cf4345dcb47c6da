import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parse, stringify } from 'yaml';
import type { Lab } from './lab.ts';
import { must } from './process.ts';
import { controllerProgram } from './programs.ts';
import { makeSystemdContainer, type SystemdContainer } from './systemd-container.ts';
import { waitUntil } from './wait-until.ts';

/*
 * The guest's own system, with the controller and its units installed, and the lab's engine as the guest's docker.
 *
 * - `docker.service` is a unit of the test that waits until the lab's engine answers.
 * - /etc/felhom and /var/lib/felhom are the folders on the guest's disk, so they are in every backup.
 * - A boot of the guest is a start of engine and container together: `boot`; `powerOff` ends both.
 */

export interface SystemdGuest extends Pick<SystemdContainer, 'name' | 'exec' | 'mustExec' | 'journal' | 'destroy'> {
  /** Starts engine and system, and waits until systemd has finished booting. */
  boot(): Promise<void>;
  /** `systemctl poweroff`, as a shutdown task of the host does; then the engine is ended too. */
  powerOff(): Promise<void>;
  /** The power is cut: nothing in the guest gets a chance. */
  cutPower(): Promise<void>;
  /** The pid of a unit's main process as the guest sees it. */
  mainPid(unit: string): Promise<number>;
}

/** Where docker found Compose on this machine. */
const composePlugin = '{{range .ClientInfo.Plugins}}{{if eq .Name "compose"}}{{.Path}}{{end}}{{end}}';

const units = [
  'felhom-controller-watch.service',
  'felhom-controller-recover.service',
  'felhom-controller-recover.timer',
  'felhom-controller-boot.service',
  'felhom-controller-reconcile.service',
];

/** Makes the system of a lab's guest; `boot` starts it. `enabled`: which of our units are enabled. */
export async function makeSystemdGuest(lab: Lab, enabled: readonly string[]): Promise<SystemdGuest> {
  const etc = join(lab.folder, 'guest-etc');
  const root = join(lab.folder, 'guest-root');
  await writeConfiguration(lab, etc);
  await installDocker(lab, root);
  const compose = (await must('docker', ['info', '--format', composePlugin])).trim();
  const system = await makeSystemdContainer({
    hostname: 'docker1',
    root,
    units,
    enabled: ['docker.service', ...enabled],
    volumes: [
      // The same path inside and outside: what Compose recorded about a project must be true in both.
      `${lab.folder}:${lab.folder}`,
      `${etc}:/etc/felhom:ro`,
      `${join(lab.guest, 'var/lib/felhom')}:/var/lib/felhom`,
      `${dirname(controllerProgram)}:/usr/lib/felhom-controller:ro`,
      `${compose}:/usr/local/lib/docker/cli-plugins/docker-compose:ro`,
    ],
  });
  const { name, exec, mustExec, journal, destroy } = system;
  return {
    name,
    exec,
    mustExec,
    journal,
    destroy,
    boot: async () => {
      if (!(await lab.engine.isUp())) await lab.engine.start();
      await system.start();
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
    mainPid: async (unit) => Number((await system.show(unit, 'MainPID'))['MainPID']),
  };
}

/** The lab's configuration of the controller, with the places that the units know. */
async function writeConfiguration(lab: Lab, etc: string): Promise<void> {
  await mkdir(etc, { recursive: true });
  const config: Record<string, unknown> = parse(await readFile(join(lab.guest, 'etc/felhom/controller.yaml'), 'utf8'));
  await writeFile(join(etc, 'token'), await readFile(join(lab.guest, 'etc/felhom/token'), 'utf8'), { mode: 0o600 });
  const places = { token_file: '/etc/felhom/token', state_dir: '/var/lib/felhom', run_dir: '/run/felhom' };
  await writeFile(join(etc, 'controller.yaml'), stringify({ ...config, ...places }), { mode: 0o600 });
}

/** docker and our program where the units expect them, and a unit that stands for the guest's engine. */
async function installDocker(lab: Lab, root: string): Promise<void> {
  for (const folder of ['usr/bin', 'usr/local/bin', 'etc/systemd/system'])
    await mkdir(join(root, folder), { recursive: true });
  const docker = (await must('sh', ['-c', 'readlink -f "$(command -v docker)"'])).trim();
  await must('cp', [docker, join(root, 'usr/local/bin/docker')]);
  await must('ln', [
    '-sfn',
    '/usr/lib/felhom-controller/felhom-controller.js',
    join(root, 'usr/bin/felhom-controller'),
  ]);
  await writeFile(join(root, 'etc/systemd/system/docker.service'), dockerUnit(lab.engine.socket));
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
