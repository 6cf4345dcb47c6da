import { parseDependencies } from 'felhom-controller/engine/container-json.ts';
import { type ContainerSpec, fakeEngine } from '../simulation/fake-engine.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { engineContract, type Wanted } from './contract.ts';

engineContract('the engine in memory', async () => {
  const clock = virtualClock();
  const fake = fakeEngine(clock);
  return {
    engine: fake.engine,
    make: async (name, wanted) => fake.add({ ...toSpec(name, wanted), status: 'created' }),
    start: async (name) => fake.startByHand(name),
    pause: async (name) => fake.pause(name),
    remove: async (name) => fake.remove(name),
    settle: async (work) => await clock.run(work),
    sleep: async (ms) => await clock.pass(ms),
    close: async () => undefined,
  };
});

const compose = 'com.docker.compose.';

function toSpec(name: string, wanted: Wanted): ContainerSpec {
  const labels = wanted.labels ?? {};
  const runsForMs = wanted.kind === 'task' || wanted.kind === 'crashes' ? 60 : null;
  return {
    name,
    restartPolicy: wanted.restart,
    stopTimeoutSeconds: wanted.stopTimeoutSeconds ?? null,
    project: labels[`${compose}project`] ?? null,
    service: labels[`${compose}service`] ?? null,
    number: Number(labels[`${compose}container-number`]) || null,
    dependencies: parseDependencies(labels[`${compose}depends_on`] ?? ''),
    namespacesOf: wanted.network?.startsWith('container:') === true ? [wanted.network.slice('container:'.length)] : [],
    labels: Object.fromEntries(Object.entries(labels).filter(([key]) => key.startsWith('felhom.'))),
    behaviour: {
      stopMs: wanted.kind === 'deaf' ? null : (wanted.slowStopMs ?? 20),
      runsForMs,
      exitCode: wanted.kind === 'crashes' ? 3 : 0,
      healthyAfterMs: wanted.healthCheck === true ? 300 : null,
      exec: () => ({ exitCode: 4, output: 'ready\n' }),
    },
  };
}
