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
    makeVolume: async (name, options = {}) => {
      fake.addVolume({ name, options });
      return name;
    },
    makeProject: async (name) => {
      const workingDir = `/srv/${name}`;
      fake.model(name, {
        services: { web: { volumes: asksFor(workingDir) } },
        volumes: { data: { name: `${name}_data` } },
        serviceEnvFiles: [`${workingDir}/web.env`],
      });
      return { project: name, composeFiles: [`${workingDir}/compose.yaml`], envFiles: [], workingDir };
    },
    settle: async (work) => await clock.run(work),
    sleep: async (ms) => await clock.pass(ms),
    close: async () => undefined,
  };
});

const asksFor = (folder: string) => [
  { type: 'volume', source: 'data', target: '/data' },
  { type: 'bind', source: `${folder}/folder`, target: '/folder' },
  { type: 'bind', source: `${folder}/fixed`, target: '/fixed', read_only: true },
];

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
