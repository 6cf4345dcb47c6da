import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@felhom/kernel/clock.ts';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { openEngineApi } from 'felhom-controller/engine/engine-api.ts';
import { findEngineSocket } from 'felhom-controller/engine/engine-socket.ts';
import { must, run } from '../lab/process.ts';
import { engineContract, type Wanted } from './contract.ts';

// On the engine that is there: containers of our own names only, removed at the end.
engineContract('the real engine', async () => {
  const engine = openEngineApi({ socketPath: await findEngineSocket(process.env), commands: systemCommands });
  const prefix = `felhom-contract-${process.pid}-`;
  const made: string[] = [];
  const volumes: string[] = [];
  const folder = await mkdtemp(join(tmpdir(), 'felhom-contract-'));
  return {
    engine,
    make: async (name, wanted) => {
      made.push(prefix + name);
      return (
        await must('docker', [
          'create',
          '--name',
          prefix + name,
          ...flags(wanted),
          'felhom/busybox:test',
          'sh',
          '-c',
          script(wanted),
        ])
      ).trim();
    },
    start: async (name) => void (await must('docker', ['start', prefix + name])),
    pause: async (name) => void (await must('docker', ['pause', prefix + name])),
    remove: async (name) => void (await must('docker', ['rm', '--force', prefix + name])),
    makeVolume: async (name, options = {}) => {
      volumes.push(prefix + name);
      const flags = Object.entries(options).flatMap(([key, value]) => ['--opt', `${key}=${value}`]);
      return (await must('docker', ['volume', 'create', ...flags, prefix + name])).trim();
    },
    makeProject: async (name) => {
      const workingDir = join(folder, name);
      await mkdir(workingDir, { recursive: true });
      await writeFile(join(workingDir, 'compose.yaml'), compose);
      await writeFile(join(workingDir, 'web.env'), 'WORD=said\n');
      return { project: name, composeFiles: [join(workingDir, 'compose.yaml')], envFiles: [], workingDir };
    },
    settle: async (work) => await work,
    sleep: async (ms) => await systemClock.sleep(ms),
    close: async () => {
      await engine.close();
      await run('docker', ['rm', '--force', '--volumes', ...made]);
      await run('docker', ['volume', 'rm', '--force', ...volumes]);
      await rm(folder, { recursive: true });
    },
  };
});

const compose = `
services:
  web:
    image: felhom/busybox:test
    env_file: [web.env]
    volumes: ["data:/data", "./folder:/folder", "./fixed:/fixed:ro"]
volumes:
  data: {}
`;

function flags(wanted: Wanted): string[] {
  return [
    ...['--network', wanted.network ?? 'none', '--restart', wanted.restart],
    ...(wanted.stopTimeoutSeconds === undefined ? [] : ['--stop-timeout', String(wanted.stopTimeoutSeconds)]),
    ...Object.entries(wanted.labels ?? {}).flatMap(([key, value]) => ['--label', `${key}=${value}`]),
    ...(wanted.healthCheck === true
      ? ['--health-cmd', 'true', '--health-interval', '1s', '--health-retries', '2']
      : []),
  ];
}

const forever = 'while :; do sleep 1 & wait $!; done';

function script({ kind, slowStopMs = 0 }: Wanted): string {
  if (kind === 'task') return 'exit 0';
  if (kind === 'crashes') return 'exit 3';
  if (kind === 'deaf') return `trap '' TERM; ${forever}`;
  return `trap 'sleep ${slowStopMs / 1_000}; exit 0' TERM; ${forever}`;
}
