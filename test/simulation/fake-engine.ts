import { Failure } from '@felhom/kernel/failure.ts';
import type { ComposeModel } from 'felhom-controller/engine/compose-model.ts';
import type {
  ComposeService,
  ContainerState,
  EngineEvent,
  EngineEvents,
  ExecAnswer,
  RecreateRequest,
  StartAnswer,
  StopAnswer,
} from 'felhom-controller/engine/engine.ts';
import type { VolumeEngine, VolumeState } from 'felhom-controller/engine/volume-engine.ts';
import type { VirtualClock } from './virtual-clock.ts';

/*
 * An engine in memory, held to the contract that the real one keeps (test/engine). It lives in a world of its own: what
 * was asked of it goes on when whoever asked is gone. Modelled: start times, restart policies and crash loops, stops in
 * flight with their grace, starts that are no-ops meanwhile, health, pauses, one-shots, an engine that restarts.
 */

/** How a container behaves. Times in milliseconds. */
export interface Behaviour {
  /** From the stop signal to its end; null: it ignores the signal and is killed at its grace. */
  stopMs: number | null;
  stopExitCode: number;
  /** The engine cannot end it before this long, not even by a kill; null: it can. */
  hangsForMs: number | null;
  /** It ends by itself after this long. */
  runsForMs: number | null;
  exitCode: number;
  startMs: number;
  /** How many of the next starts fail. */
  startFailures: number;
  /** From the start to healthy; null: it has no health check. */
  healthyAfterMs: number | null;
  exec: (command: string) => ExecAnswer;
}

export type ContainerSpec = Partial<ContainerState> & {
  name: string;
  behaviour?: Partial<Behaviour>;
  /** Its past, where it has one. */
  starts?: number;
  stoppedByHand?: boolean;
};

interface Container {
  state: ContainerState;
  behaviour: Behaviour;
  /** Stopped by hand: no restart policy starts it again, but `always` at an engine start. */
  stoppedByHand: boolean;
  /** A stop under way; resolves when the container is down. */
  stopping: Promise<void> | null;
  /** Ends the timers of the present life. */
  endLife: (() => void)[];
  /** Execs and health checks of the world that this container has seen. */
  starts: number;
}

export interface FakeEngine {
  engine: VolumeEngine;
  /** Makes a container; `status` decides whether it runs. Returns its id. */
  add(spec: ContainerSpec): string;
  state(name: string): ContainerState | null;
  /** How often it was started, over all lives. */
  starts(name: string): number;
  behave(name: string, change: Partial<Behaviour>): void;
  remove(name: string): void;
  /** Somebody else's `docker start`, `docker stop`, `docker pause`. */
  startByHand(name: string): void;
  stopByHand(name: string): void;
  pause(name: string): void;
  setRestartPolicy(id: string, name: ContainerState['restartPolicy'], retries: number): boolean;
  /** Compose files from which `recreate` may make a service again: project/service → specs. */
  declare(project: string, service: string, specs: () => ContainerSpec[]): void;
  addVolume(volume: Partial<VolumeState> & { name: string }): void;
  removeVolume(name: string): void;
  /** What Compose makes of a project's files; absent: it refuses them. */
  model(project: string, model: Partial<ComposeModel>): void;
  /** The engine goes away, with everything that runs. */
  goDown(): void;
  comeUp(): void;
  breakEvents(): void;
  readonly commands: readonly { container: string; command: string }[];
  /** Names of what has a process now: running or paused. */
  running(): string[];
  /** The same containers as a machine finds them that boots from a snapshot taken now: with their ids, and none runs. */
  afterPowerCut(): ContainerSpec[];
}

const neverMs = '0001-01-01T00:00:00Z';
const firstRestartPauseMs = 100;

export function fakeEngine(
  clock: VirtualClock,
  onStart: (state: ContainerState) => void = () => undefined,
): FakeEngine {
  const containers = new Map<string, Container>();
  const declared = new Map<string, () => ContainerSpec[]>();
  const volumes = new Map<string, VolumeState>();
  const models = new Map<string, ComposeModel>();
  const streams = new Set<{ push(event: EngineEvent): void; end(why: string): void }>();
  const commands: { container: string; command: string }[] = [];
  let isUp = true;
  let count = 0;

  const requireUp = (): void => {
    if (!isUp)
      throw new Failure('docker_unreachable', { message: 'docker does not answer', hint: 'systemctl status docker' });
  };
  /** Engine times are unique to the nanosecond: two starts never share one. */
  const time = (): string => {
    count += 1;
    return new Date(clock.nowMs()).toISOString().replace('Z', `${String(count % 1_000_000).padStart(6, '0')}Z`);
  };
  const emit = (container: Container, action: string): void => {
    const { id, name } = container.state;
    for (const stream of streams) stream.push({ containerId: id, name, action, timeMs: clock.nowMs() });
  };
  const byName = (name: string): Container => {
    const found = [...containers.values()].find(({ state }) => state.name === name);
    if (found === undefined) throw new Error(`the fake engine has no container ${name}`);
    return found;
  };
  /** As docker finds one: by its id or its name. */
  const find = (reference: string): Container | undefined =>
    containers.get(reference) ?? [...containers.values()].find(({ state }) => state.name === reference);
  const newLife = (container: Container): void => {
    const { state, behaviour } = container;
    state.status = 'running';
    state.startedAt = time();
    state.pid = count;
    container.stoppedByHand = false;
    container.starts += 1;
    state.health = { ...state.health, status: behaviour.healthyAfterMs === null ? 'none' : 'starting' };
    emit(container, 'start');
    onStart(copy(state));
    if (behaviour.runsForMs !== null) {
      container.endLife.push(clock.after(behaviour.runsForMs, () => endLife(container, container.behaviour.exitCode)));
    }
    if (behaviour.healthyAfterMs !== null) {
      container.endLife.push(
        clock.after(behaviour.healthyAfterMs, () => {
          state.health = { ...state.health, status: 'healthy' };
          emit(container, 'health_status: healthy');
        }),
      );
    }
  };
  const endLife = (container: Container, exitCode: number): void => {
    const { state } = container;
    for (const cancel of container.endLife.splice(0)) cancel();
    if (state.status !== 'running' && state.status !== 'paused' && state.status !== 'restarting') return;
    state.status = 'exited';
    state.finishedAt = time();
    state.exitCode = exitCode;
    state.pid = 0;
    emit(container, 'die');
    if (state.autoRemove) {
      containers.delete(state.id);
      return;
    }
    const policy = state.restartPolicy;
    const restarts = policy === 'always' || policy === 'unless-stopped' || (policy === 'on-failure' && exitCode !== 0);
    if (!restarts || container.stoppedByHand || !isUp) return;
    state.status = 'restarting';
    const pauseMs = Math.min(firstRestartPauseMs * 2 ** state.restartCount, 60_000);
    state.restartCount += 1;
    container.endLife.push(clock.after(pauseMs, () => newLife(container)));
  };
  const graceMs = ({ state }: Container): number => (state.stopTimeoutSeconds ?? 10) * 1_000;
  const beginStop = (container: Container): Promise<void> => {
    container.stopping ??= new Promise<void>((resolve) => {
      const { behaviour, state } = container;
      container.stoppedByHand = true;
      const ownMs = Math.min(behaviour.stopMs ?? Number.POSITIVE_INFINITY, graceMs(container));
      const inMs = state.status === 'restarting' ? 0 : (behaviour.hangsForMs ?? ownMs);
      const isKilled = behaviour.stopMs === null || behaviour.stopMs > graceMs(container);
      clock.after(inMs, () => {
        container.stopping = null;
        endLife(container, isKilled ? 137 : behaviour.stopExitCode);
        emit(container, 'stop');
        resolve();
      });
    });
    return container.stopping;
  };
  const bounded = async (work: Promise<void>, boundMs: number, what: string): Promise<void> => {
    const enough = new AbortController();
    let isLate = false;
    const limit = clock.sleep(boundMs, enough.signal).then(() => {
      isLate = !enough.signal.aborted;
    });
    await Promise.race([work, limit]);
    enough.abort();
    if (isLate)
      throw new Failure('docker_unreachable', {
        message: `docker did not answer ${what} within ${boundMs} ms`,
        hint: 'docker info',
      });
  };

  const add = (spec: ContainerSpec): string => {
    count += 1;
    const { behaviour, starts = 0, stoppedByHand = false, ...given } = spec;
    const id = given.id ?? count.toString(16).padStart(4, '0').repeat(16);
    const container: Container = {
      state: { ...blank(id, spec.name), ...given, status: 'created' },
      behaviour: { ...calm, ...behaviour },
      stoppedByHand,
      stopping: null,
      endLife: [],
      starts,
    };
    if (given.health === undefined && container.behaviour.healthyAfterMs !== null) {
      container.state.health = {
        status: 'starting',
        startLimitMs: container.behaviour.healthyAfterMs + 1_000,
        startPeriodMs: 0,
      };
    }
    containers.set(id, container);
    const wanted = spec.status ?? 'running';
    if (wanted === 'running' || wanted === 'restarting' || wanted === 'paused') newLife(container);
    if (wanted === 'restarting') endLife(container, container.behaviour.exitCode);
    if (wanted === 'paused') container.state.status = 'paused';
    if (wanted === 'exited') {
      const ended = { startedAt: given.startedAt ?? time(), finishedAt: given.finishedAt ?? time() };
      container.state = { ...container.state, status: 'exited', ...ended };
    }
    return id;
  };

  const engine: VolumeEngine = {
    identity: async () => {
      requireUp();
      return { id: 'FAKE', version: '20.10', apiVersion: '1.41', socketPath: '/fake.sock' };
    },
    list: async () => {
      requireUp();
      return [...containers.values()].map(({ state }) => copy(state));
    },
    listRunning: async () => {
      requireUp();
      return [...containers.values()]
        .filter(({ state }) => state.status === 'running' || state.status === 'restarting' || state.status === 'paused')
        .map(({ state: { id, name, project, service, status } }) => ({ id, name, project, service, status }));
    },
    inspect: async (ids) => {
      requireUp();
      return ids.map((id) => {
        const found = find(id);
        return found === undefined ? null : copy(found.state);
      });
    },
    stop: async (id, { boundMs }): Promise<StopAnswer> => {
      requireUp();
      const container = containers.get(id);
      if (container === undefined) return 'gone';
      const { status } = container.state;
      if (status !== 'running' && status !== 'restarting' && status !== 'paused') return 'already_stopped';
      await bounded(beginStop(container), boundMs, 'stop');
      requireUp();
      return 'stopped';
    },
    start: async (id, { boundMs }): Promise<StartAnswer> => {
      requireUp();
      const container = containers.get(id);
      if (container === undefined) return 'gone';
      await bounded(clock.sleep(container.behaviour.startMs), boundMs, 'start');
      requireUp();
      // Removed meanwhile: the engine does one thing after the other to a container.
      if (!containers.has(id)) return 'gone';
      const holders = container.state.namespacesOf.map((reference) => find(reference));
      if (holders.includes(undefined)) return 'gone';
      const { status } = container.state;
      if (status === 'running' || status === 'restarting' || status === 'paused') return 'already_running';
      if (holders.some((holder) => holder?.state.status !== 'running'))
        throw new Failure('operation_failed', {
          message: `docker refused to start ${container.state.name}: cannot join network of a non running container`,
          hint: 'docker ps',
        });
      if (container.behaviour.startFailures > 0) {
        container.behaviour.startFailures -= 1;
        throw new Failure('operation_failed', {
          message: `docker refused to start ${container.state.name}: no room`,
          hint: 'df',
        });
      }
      container.state.restartCount = 0;
      newLife(container);
      return 'started';
    },
    events: async () => {
      requireUp();
      return openStream(streams);
    },
    exec: async (id, command) => {
      requireUp();
      const container = containers.get(id);
      if (container?.state.status !== 'running') {
        throw new Failure('operation_failed', { message: `${id} does not run`, hint: 'docker ps' });
      }
      commands.push({ container: container.state.name, command });
      return container.behaviour.exec(command);
    },
    recreate: async ({ project, service }: ComposeService, { which }: RecreateRequest) => {
      requireUp();
      const specs = declared.get(`${project}/${service}`)?.();
      if (specs === undefined) {
        throw new Failure('operation_failed', {
          message: `docker compose: no such file for ${project}/${service}`,
          hint: 'docker compose up',
        });
      }
      if (which === 'all') {
        for (const { state } of [...containers.values()])
          if (state.project === project && state.service === service) containers.delete(state.id);
      }
      const names = new Set([...containers.values()].map(({ state }) => state.name));
      for (const spec of specs) if (!names.has(spec.name)) add({ ...spec, project, service, status: 'created' });
    },
    setRestartPolicy: async (id, { name, retries }) => {
      requireUp();
      const container = containers.get(id);
      if (container === undefined) return 'gone';
      container.state.restartPolicy = name;
      container.state.restartRetries = name === 'on-failure' ? retries : 0;
      return 'updated';
    },
    volumes: async (names) => {
      requireUp();
      return names.map((name) => structuredClone(volumes.get(name) ?? null));
    },
    composeModel: async ({ project }) => {
      const found = models.get(project);
      if (found !== undefined) return structuredClone(found);
      throw new Failure('operation_failed', {
        message: `docker compose cannot read the files of ${project}: no such file or directory`,
        hint: 'docker compose config',
      });
    },
  };

  return {
    engine,
    add,
    commands,
    state: (name) => {
      const found = [...containers.values()].find(({ state }) => state.name === name);
      return found === undefined ? null : copy(found.state);
    },
    starts: (name) => byName(name).starts,
    behave: (name, change) => void Object.assign(byName(name).behaviour, change),
    remove: (name) => {
      const container = byName(name);
      for (const cancel of container.endLife.splice(0)) cancel();
      containers.delete(container.state.id);
    },
    startByHand: (name) => {
      byName(name).state.restartCount = 0;
      newLife(byName(name));
    },
    stopByHand: (name) => void beginStop(byName(name)),
    setRestartPolicy: (id, name, retries) => {
      const found = containers.get(id);
      if (found === undefined) return false;
      Object.assign(found.state, { restartPolicy: name, restartRetries: retries });
      return true;
    },
    pause: (name) => {
      byName(name).state.status = 'paused';
    },
    declare: (project, service, specs) => void declared.set(`${project}/${service}`, specs),
    addVolume: (volume) =>
      void volumes.set(volume.name, {
        driver: 'local',
        mountpoint: `/volumes/${volume.name}/_data`,
        options: {},
        ...volume,
      }),
    removeVolume: (name) => void volumes.delete(name),
    model: (project, model) => void models.set(project, { serviceEnvFiles: [], ...model }),
    goDown: () => {
      isUp = false;
      for (const container of containers.values()) endLife(container, 137);
      for (const stream of streams) stream.end('the engine went away');
    },
    comeUp: () => {
      isUp = true;
      for (const container of containers.values()) {
        const { restartPolicy, status } = container.state;
        container.stopping = null;
        const comesBack =
          restartPolicy === 'always' || (restartPolicy === 'unless-stopped' && !container.stoppedByHand);
        if (comesBack && status === 'exited' && container.starts > 0) newLife(container);
      }
    },
    running: () =>
      [...containers.values()]
        .filter(({ state }) => state.status === 'running' || state.status === 'paused')
        .map(({ state }) => state.name),
    afterPowerCut: () =>
      [...containers.values()].map(({ state, behaviour, starts, stoppedByHand }) => ({
        ...copy(state),
        status: 'exited',
        behaviour,
        starts,
        stoppedByHand,
      })),
    breakEvents: () => {
      for (const stream of streams) stream.end('the connection was cut');
    },
  };
}

const calm: Behaviour = {
  stopMs: 50,
  stopExitCode: 0,
  hangsForMs: null,
  runsForMs: null,
  exitCode: 0,
  startMs: 20,
  startFailures: 0,
  healthyAfterMs: null,
  exec: () => ({ exitCode: 0, output: '' }),
};

function blank(id: string, name: string): ContainerState {
  return {
    id,
    name,
    project: null,
    service: null,
    number: null,
    oneoff: false,
    autoRemove: false,
    swarm: false,
    imageId: 'sha256:fake',
    image: 'fake',
    status: 'created',
    startedAt: neverMs,
    finishedAt: neverMs,
    exitCode: 0,
    oomKilled: false,
    pid: 0,
    restartCount: 0,
    restartPolicy: 'unless-stopped',
    restartRetries: 0,
    stopTimeoutSeconds: null,
    dependencies: [],
    namespacesOf: [],
    health: { status: 'none', startLimitMs: 0, startPeriodMs: 0 },
    mounts: [],
    labels: {},
    composeFiles: [],
    envFiles: [],
    workingDir: null,
    configHash: null,
  };
}

function copy(state: ContainerState): ContainerState {
  return structuredClone(state);
}

function openStream(streams: Set<{ push(event: EngineEvent): void; end(why: string): void }>): EngineEvents {
  const seen: EngineEvent[] = [];
  const waiting = new Set<() => void>();
  let why: string | null = null;
  let closed = false;
  const wake = (): void => {
    for (const each of [...waiting]) each();
  };
  const stream = {
    push: (event: EngineEvent): void => {
      seen.push(event);
      wake();
    },
    end: (reason: string): void => {
      why ??= reason;
      closed = true;
      streams.delete(stream);
      wake();
    },
  };
  streams.add(stream);
  return {
    seen: () => seen,
    broken: () => why,
    close: () => {
      closed = true;
      streams.delete(stream);
      wake();
    },
    next: async (match, signal) => {
      for (let from = 0; !signal.aborted; ) {
        const found = seen.slice(from).find(match);
        if (found !== undefined) return found;
        from = seen.length;
        if (closed) return null;
        await new Promise<void>((resolve) => {
          const done = (): void => {
            waiting.delete(done);
            signal.removeEventListener('abort', done);
            resolve();
          };
          waiting.add(done);
          signal.addEventListener('abort', done, { once: true });
        });
      }
      return null;
    },
  };
}
