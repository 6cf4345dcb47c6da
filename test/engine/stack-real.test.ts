import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { findEngineSocket } from 'felhom-controller/engine/engine-socket.ts';
import { openStackEngine } from 'felhom-controller/engine/stack-engine-api.ts';
import { must, run } from '../lab/process.ts';
import { stackEngineContract } from './stack-contract.ts';

// On the engine that is there: containers and names of our own only, removed at the end.
stackEngineContract('the real engine of upgrades', async () => {
  const engine = openStackEngine({ socketPath: await findEngineSocket(process.env), commands: systemCommands });
  const prefix = `felhom-stack-contract-${process.pid}-`;
  const serve = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done";
  return {
    engine,
    image: 'felhom/busybox:test',
    prefix,
    run: async (name) => {
      const flags = ['--detach', '--network', 'none', '--name', prefix + name];
      return (await must('docker', ['run', ...flags, 'felhom/busybox:test', 'sh', '-c', serve])).trim();
    },
    settle: async (work) => await work,
    close: async () => {
      await run('docker', ['rm', '--force', `${prefix}policy`, `${prefix}removed`, `${prefix}pin`]);
      await run('docker', ['rmi', `${prefix}named:2`]);
      await engine.close();
    },
  };
});
