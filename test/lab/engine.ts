import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { endProcessesOf } from './end-processes.ts';
import { answers } from './engine-look.ts';
import { type Background, must, type RunEnd, run, startInBackground } from './process.ts';
import { unmountBelow } from './unmount.ts';
import { waitUntil } from './wait-until.ts';

/** A Docker engine of a lab's own: its own data, sockets and network namespace, so that labs side by side never meet. */
export interface LabEngine {
  socket: string;
  /** `DOCKER_HOST` of this engine. */
  host: string;
  start(): Promise<void>;
  /** Ends it as a shutdown does: every container gets its stop signal. */
  stop(): Promise<void>;
  /** kill -9 to the engine and to containerd; what runs in containers goes on, as without systemd. */
  kill(): Promise<void>;
  /** The power is cut: engine and containers end at once, nothing is told. */
  powerCut(): Promise<void>;
  isUp(): Promise<boolean>;
  /** The docker client on this engine; throws unless it ends 0. */
  docker(...args: string[]): Promise<string>;
  /** The same without judging how it ended. */
  tryDocker(...args: string[]): Promise<RunEnd>;
  /** Ends everything that was ever started below `folder`, at any price. */
  destroy(): Promise<void>;
}

export interface EngineRequest {
  /** For sockets, pid files and logs. */
  folder: string;
  /** Images, containers, volumes. */
  dataRoot: string;
}

const legacyTables = '/run/felhom-iptables-legacy';

export function labEngine({ folder, dataRoot }: EngineRequest): LabEngine {
  const socket = join(folder, 'docker.sock');
  const host = `unix://${socket}`;
  const execRoot = join(folder, 'engine');
  const env = {
    ...process.env,
    DOCKER_HOST: host,
    // Engines from 26 on start no container where /proc/sys is read-only, unless they are told to.
    DOCKER_ALLOW_IPV6_ON_IPV4_INTERFACE: '1',
    PATH: `${existsSync(legacyTables) ? `${legacyTables}:` : ''}${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`,
  };
  let daemon: Background | undefined;

  const isUp = async (): Promise<boolean> => await answers(socket);
  const tryDocker = async (...args: string[]): Promise<RunEnd> => await run('docker', args, { env });

  const engine: LabEngine = {
    socket,
    host,
    start: async () => {
      await mkdir(execRoot, { recursive: true });
      const flags = [
        '--data-root',
        dataRoot,
        '--exec-root',
        execRoot,
        '--pidfile',
        join(execRoot, 'docker.pid'),
        '-H',
        host,
        '--storage-driver',
        'overlay2',
      ];
      // A namespace of its own for the network: every engine may use the same addresses and tables.
      const script = 'ip link set lo up; rm -f "$0"; exec dockerd "$@"';
      const started = startInBackground(
        'unshare',
        ['--net', 'sh', '-c', script, join(execRoot, 'docker.pid'), ...flags],
        { env, logFile: join(folder, 'dockerd.log') },
      );
      daemon = started;
      await waitUntil('the engine of the lab answers', async () => {
        if (started.hasEnded()) throw new Error(`dockerd ended: ${started.output().slice(-2_000)}`);
        return await isUp();
      });
    },
    stop: async () => {
      await daemon?.stop(60_000);
      daemon = undefined;
    },
    kill: async () => {
      const pidFile = join(execRoot, 'containerd/containerd.pid');
      const containerd = Number(await readFile(pidFile, 'utf8').catch(() => '0'));
      await rm(pidFile, { force: true });
      daemon?.child.kill('SIGKILL');
      if (containerd > 0) process.kill(containerd, 'SIGKILL');
      await daemon?.ended;
      daemon = undefined;
    },
    powerCut: async () => {
      daemon?.child.kill('SIGKILL');
      await daemon?.ended;
      daemon = undefined;
      await endProcessesOf(folder, execRoot);
      // What a machine finds when it comes up again: nothing is mounted, /run is empty.
      for (const place of [execRoot, join(dataRoot, 'overlay2'), join(dataRoot, 'containers')])
        await unmountBelow(place);
      await rm(execRoot, { recursive: true, force: true });
    },
    isUp,
    docker: async (...args) => await must('docker', args, { env }),
    tryDocker,
    destroy: async () => {
      if (daemon !== undefined && !daemon.hasEnded()) {
        const ids = (await tryDocker('ps', '--quiet')).stdout.split('\n').filter((id) => id !== '');
        if (ids.length > 0) await tryDocker('kill', ...ids);
        await daemon.stop(10_000);
      }
      daemon = undefined;
      await endProcessesOf(folder, execRoot);
    },
  };
  return engine;
}
