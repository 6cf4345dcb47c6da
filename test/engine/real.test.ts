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
    settle: async (work) => await work,
    sleep: async (ms) => await systemClock.sleep(ms),
    close: async () => {
      await engine.close();
      await run('docker', ['rm', '--force', '--volumes', ...made]);
    },
  };
});

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
