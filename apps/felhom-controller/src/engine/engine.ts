/**
 * The one door to docker, as an interface: the real engine (engine-api.ts) and the one in memory
 * (test/simulation/fake-engine.ts) keep the same contract suite (engine-contract.ts).
 *
 * Contract: every call is bounded and ends in a Failure (`docker_unreachable`,
 * `docker_unsupported`, `operation_failed`) when its bound passes; a container that is gone is a
 * value, never an error; nothing is believed from an exit code, so that callers look afterwards.
 */
export type ContainerStatus = 'created' | 'running' | 'paused' | 'restarting' | 'removing' | 'exited' | 'dead';
export type RestartPolicy = 'no' | 'always' | 'unless-stopped' | 'on-failure';
export type DependencyCondition = 'service_started' | 'service_healthy' | 'service_completed_successfully';

/** One entry of the label `com.docker.compose.depends_on` (`db:service_healthy:true`). */
export interface Dependency {
  service: string;
  condition: DependencyCondition;
  restart: boolean;
}

export interface ContainerMount {
  kind: 'volume' | 'bind' | 'tmpfs' | 'other';
  /** Host path, or the volume's name where the engine tells no path. */
  source: string;
  destination: string;
  volume: string | null;
  writable: boolean;
}

export interface ContainerHealth {
  status: 'none' | 'starting' | 'healthy' | 'unhealthy';
  /** How long after its start a container of this kind may still be on its way: start period + retries × (interval + timeout). */
  startLimitMs: number;
  /** The start period alone. */
  startPeriodMs: number;
}

/** What the engine says of one container. Times are the engine's own strings, to the nanosecond. */
export interface ContainerState {
  id: string;
  name: string;
  project: string | null;
  service: string | null;
  number: number | null;
  /** Made by `compose run`: it has a command of its own and is never stopped, nor started again. */
  oneoff: boolean;
  /** Made with `--rm`: a stop would remove it. */
  autoRemove: boolean;
  /** Belongs to a swarm service, which replaces what is stopped. */
  swarm: boolean;
  imageId: string;
  image: string;
  status: ContainerStatus;
  startedAt: string;
  finishedAt: string;
  exitCode: number;
  oomKilled: boolean;
  pid: number;
  restartCount: number;
  restartPolicy: RestartPolicy;
  /** `on-failure:N`; 0: without limit, and with every other policy. */
  restartRetries: number;
  /** The container's own grace; null: the engine's default of 10 s. */
  stopTimeoutSeconds: number | null;
  dependencies: Dependency[];
  /** Ids or names of containers whose network, pid or ipc namespace this one lives in. */
  namespacesOf: string[];
  health: ContainerHealth;
  mounts: ContainerMount[];
  labels: Record<string, string>;
  composeFiles: string[];
  envFiles: string[];
  workingDir: string | null;
  /** Compose's hash of the service's definition from which this container was made (`com.docker.compose.config-hash`). */
  configHash: string | null;
}

/** A container without the costly half: what one list call tells. */
export interface ContainerSummary {
  id: string;
  name: string;
  project: string | null;
  service: string | null;
  status: ContainerStatus;
}

export interface EngineIdentity {
  /** The engine's own id; changes when its data root does. */
  id: string;
  version: string;
  apiVersion: string;
  socketPath: string;
}

export interface EngineEvent {
  containerId: string;
  name: string;
  /** `start`, `die`, `stop`, `kill`, `health_status: healthy`, … */
  action: string;
  timeMs: number;
}

/** Container events from the moment the engine took the subscription. */
export interface EngineEvents {
  /** Everything seen so far, in order. */
  seen(): readonly EngineEvent[];
  /** Resolves with the first event that matches, or null when `signal` aborts or the stream ends. */
  next(match: (event: EngineEvent) => boolean, signal: AbortSignal): Promise<EngineEvent | null>;
  /** Why the stream ended before `close`; null while it holds. */
  broken(): string | null;
  close(): void;
}

export type StopAnswer = 'stopped' | 'already_stopped' | 'gone';
export type StartAnswer = 'started' | 'already_running' | 'gone';

export interface StopRequest {
  /** How long the engine may take before the call fails: the container's grace + margin. The stop itself is not undone. */
  boundMs: number;
}

export interface StartRequest {
  boundMs: number;
}

export interface ExecAnswer {
  exitCode: number | null;
  output: string;
}

/** A service of a Compose project whose container is gone: from where to make it again. */
export interface ComposeService {
  project: string;
  service: string;
  composeFiles: readonly string[];
  envFiles: readonly string[];
  workingDir: string | null;
}

export interface RecreateRequest {
  /** `missing`: what is there stays. `all`: what is there is replaced, with its volumes kept; what runs is stopped. */
  which: 'missing' | 'all';
  boundMs: number;
  /** The run lock: nobody else acts before Compose is over. */
  inheritFds: readonly number[];
}

export interface Engine {
  /** Who answers. Podman and engines that cannot be spoken to are refused here with `docker_unsupported`. */
  identity(): Promise<EngineIdentity>;
  /** Every container, stopped ones too. One that vanishes meanwhile is left out. */
  list(): Promise<ContainerState[]>;
  /** One quick call: what the engine knows of running, paused and restarting containers. */
  listRunning(boundMs?: number): Promise<ContainerSummary[]>;
  /** In the order asked; null: no such container. */
  inspect(ids: readonly string[]): Promise<(ContainerState | null)[]>;
  /** Sends the container's own stop signal, waits its own grace, then the engine kills. No `t`: the grace is the container's. */
  stop(id: string, request: StopRequest): Promise<StopAnswer>;
  /**
   * `docker start`. A no-op that succeeds while the container still shuts down: look afterwards. `gone`, or a refusal: it,
   * or a container whose namespace it lives in, is gone.
   */
  start(id: string, request: StartRequest): Promise<StartAnswer>;
  /** Resolves once the subscription holds. */
  events(): Promise<EngineEvents>;
  /** Runs `command` by `sh -c` in a container; ends by itself or is left behind when the bound passes. */
  exec(id: string, command: string, request: { boundMs: number }): Promise<ExecAnswer>;
  /** Makes the containers of a service from its recorded files, without starting anything. */
  recreate(service: ComposeService, request: RecreateRequest): Promise<void>;
}
