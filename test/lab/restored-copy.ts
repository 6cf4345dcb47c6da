import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { endProcessesOf } from './end-processes.ts';
import type { Lab } from './lab.ts';
import { type Background, must, type RunEnd, run, startInBackground } from './process.ts';
import { controllerProgram } from './programs.ts';
import { waitUntil } from './wait-until.ts';

/**
 * An unpacked archive that was booted beside its original: in a mount namespace of its own its files stand where the
 * original's stand, so that every path in it is true; its engine has a network namespace of its own, too.
 */
export interface RestoredCopy {
  /** Its files as we see them. */
  root: string;
  docker(...args: string[]): Promise<string>;
  controller(...args: string[]): Promise<RunEnd>;
  destroy(): Promise<void>;
}

/** Boots `root`, an unpacked archive of a lab with `images: 'inside'`. */
export async function bootCopy(lab: Lab, root: string): Promise<RestoredCopy> {
  const folder = `${root}-runs`;
  await mkdir(join(folder, 'engine'), { recursive: true });
  const host = `unix://${join(folder, 'docker.sock')}`;
  const env = { ...process.env, DOCKER_HOST: host };
  const daemon = startEngine({ lab, root, folder, host });
  await waitUntil('the engine of the copy answers', async () => {
    if (daemon.hasEnded()) throw new Error(`the engine of the copy ended:\n${daemon.output().slice(-2_000)}`);
    return (await run('docker', ['version'], { env })).code === 0;
  });
  const config = join(lab.guest, 'etc/felhom/controller.yaml');
  const places = { FELHOM_RUN_DIR: join(folder, 'run') };
  return {
    root,
    docker: async (...args) => await must('docker', args, { env }),
    controller: async (...args) =>
      await run(
        'nsenter',
        ['--target', String(daemon.pid), '--mount', controllerProgram, ...args, '--config', config],
        {
          env: lab.guestEnvironment({ DOCKER_HOST: host, ...places }),
          cwd: '/',
        },
      ),
    destroy: async () => {
      await daemon.stop(10_000);
      await endProcessesOf(root, folder);
    },
  };
}

function startEngine({
  lab,
  root,
  folder,
  host,
}: {
  lab: Lab;
  root: string;
  folder: string;
  host: string;
}): Background {
  const flags = ['--data-root', join(lab.guest, 'var/lib/docker'), '--exec-root', join(folder, 'engine')];
  const sockets = ['--pidfile', join(folder, 'engine/docker.pid'), '-H', host, '--storage-driver', 'overlay2'];
  // Private: what is mounted in the copy is not seen outside. Its files cover the original's at the same place.
  const script = 'mount --bind "$1" "$2" && ip link set lo up && shift 2 && exec dockerd "$@"';
  const words = [
    '--mount',
    '--net',
    '--propagation',
    'private',
    'sh',
    '-c',
    script,
    'boot',
    root,
    lab.guest,
    ...flags,
    ...sockets,
  ];
  const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };
  return startInBackground('unshare', words, { env, logFile: join(folder, 'dockerd.log') });
}
