import { z } from 'zod';
import type {
  ContainerHealth,
  ContainerMount,
  ContainerState,
  ContainerSummary,
  Dependency,
  DependencyCondition,
  RestartPolicy,
} from './engine.ts';

const status = z.enum(['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead']);
const labels = z.record(z.string(), z.string()).nullish();

/** `GET /containers/json` (Engine API 1.41 to 1.52), as far as we read it. */
export const listAnswer = z.array(
  z.object({ Id: z.string(), Names: z.array(z.string()).nullish(), State: status, Labels: labels }),
);

const healthcheck = z.object({
  Test: z.array(z.string()).nullish(),
  Interval: z.number().nullish(),
  Timeout: z.number().nullish(),
  StartPeriod: z.number().nullish(),
  Retries: z.number().nullish(),
});

/** `GET /containers/{id}/json` (Engine API 1.41 to 1.52), as far as we read it. */
export const inspectAnswer = z.object({
  Id: z.string(),
  Name: z.string(),
  Image: z.string(),
  RestartCount: z.number().nullish(),
  State: z.object({
    Status: status,
    StartedAt: z.string(),
    FinishedAt: z.string(),
    ExitCode: z.number(),
    OOMKilled: z.boolean().nullish(),
    Pid: z.number().nullish(),
    Health: z.object({ Status: z.string() }).nullish(),
  }),
  HostConfig: z.object({
    RestartPolicy: z.object({ Name: z.string().nullish(), MaximumRetryCount: z.number().nullish() }).nullish(),
    AutoRemove: z.boolean().nullish(),
    NetworkMode: z.string().nullish(),
    PidMode: z.string().nullish(),
    IpcMode: z.string().nullish(),
  }),
  Config: z.object({
    Image: z.string().nullish(),
    Labels: labels,
    StopTimeout: z.number().nullish(),
    Healthcheck: healthcheck.nullish(),
  }),
  Mounts: z
    .array(
      z.object({
        Type: z.string().nullish(),
        Name: z.string().nullish(),
        Source: z.string().nullish(),
        Destination: z.string().nullish(),
        RW: z.boolean().nullish(),
      }),
    )
    .nullish(),
});
export type InspectAnswer = z.infer<typeof inspectAnswer>;

const compose = 'com.docker.compose.';
const swarmService = 'com.docker.swarm.service.id';

export function toSummary(entry: z.infer<typeof listAnswer>[number]): ContainerSummary {
  return {
    id: entry.Id,
    name: (entry.Names?.[0] ?? entry.Id).replace(/^\//, ''),
    project: entry.Labels?.[`${compose}project`] ?? null,
    service: entry.Labels?.[`${compose}service`] ?? null,
    status: entry.State,
  };
}

export function toContainerState(answer: InspectAnswer): ContainerState {
  const own = answer.Config.Labels ?? {};
  const number = Number(own[`${compose}container-number`]);
  return {
    id: answer.Id,
    name: answer.Name.replace(/^\//, ''),
    project: own[`${compose}project`] ?? null,
    service: own[`${compose}service`] ?? null,
    number: Number.isInteger(number) ? number : null,
    oneoff: own[`${compose}oneoff`]?.toLowerCase() === 'true',
    autoRemove: answer.HostConfig.AutoRemove === true,
    swarm: own[swarmService] !== undefined,
    imageId: answer.Image,
    image: answer.Config.Image ?? answer.Image,
    status: answer.State.Status,
    startedAt: answer.State.StartedAt,
    finishedAt: answer.State.FinishedAt,
    exitCode: answer.State.ExitCode,
    oomKilled: answer.State.OOMKilled === true,
    pid: answer.State.Pid ?? 0,
    restartCount: answer.RestartCount ?? 0,
    restartPolicy: restartPolicyOf(answer.HostConfig.RestartPolicy?.Name),
    restartRetries: answer.HostConfig.RestartPolicy?.MaximumRetryCount ?? 0,
    stopTimeoutSeconds: answer.Config.StopTimeout ?? null,
    dependencies: parseDependencies(own[`${compose}depends_on`] ?? ''),
    namespacesOf: namespacesOf(answer),
    health: healthOf(answer),
    mounts: (answer.Mounts ?? []).map(toMount),
    labels: Object.fromEntries(Object.entries(own).filter(([key]) => key.startsWith('felhom.'))),
    composeFiles: splitList(own[`${compose}project.config_files`]),
    envFiles: splitList(own[`${compose}project.environment_file`]),
    workingDir: own[`${compose}project.working_dir`] ?? null,
    configHash: own[`${compose}config-hash`] ?? null,
  };
}

/** `db:service_healthy:true,redis:service_started:false`; older Compose wrote `db:service_started` or `db`. */
export function parseDependencies(label: string): Dependency[] {
  return splitList(label).map((entry) => {
    const [service = '', condition = '', restart = ''] = entry.split(':');
    return { service, condition: conditionOf(condition), restart: restart === 'true' };
  });
}

function conditionOf(text: string): DependencyCondition {
  return text === 'service_healthy' || text === 'service_completed_successfully' ? text : 'service_started';
}

function restartPolicyOf(name: string | null | undefined): RestartPolicy {
  return name === 'always' || name === 'unless-stopped' || name === 'on-failure' ? name : 'no';
}

function splitList(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

function namespacesOf({ HostConfig }: InspectAnswer): string[] {
  const modes = [HostConfig.NetworkMode, HostConfig.PidMode, HostConfig.IpcMode];
  const holders = modes.flatMap((mode) =>
    mode?.startsWith('container:') === true ? [mode.slice('container:'.length)] : [],
  );
  return [...new Set(holders)];
}

const nanosecondsPerMs = 1e6;

/** Defaults of the engine where a value is 0 or absent: interval and timeout 30 s, 3 retries. */
function healthOf(answer: InspectAnswer): ContainerHealth {
  const check = answer.Config.Healthcheck;
  const word = answer.State.Health?.Status;
  if (word === undefined || word === 'none' || check?.Test?.[0] === 'NONE')
    return { status: 'none', startLimitMs: 0, startPeriodMs: 0 };
  const intervalMs = (check?.Interval || 30e9) / nanosecondsPerMs;
  const timeoutMs = (check?.Timeout || 30e9) / nanosecondsPerMs;
  const startMs = (check?.StartPeriod ?? 0) / nanosecondsPerMs;
  return {
    status: word === 'healthy' || word === 'unhealthy' ? word : 'starting',
    startLimitMs: startMs + (check?.Retries || 3) * (intervalMs + timeoutMs),
    startPeriodMs: startMs,
  };
}

type MountAnswer = NonNullable<InspectAnswer['Mounts']>[number];

function toMount(mount: MountAnswer): ContainerMount {
  const kind = mount.Type === 'volume' || mount.Type === 'bind' || mount.Type === 'tmpfs' ? mount.Type : 'other';
  return {
    kind,
    source: mount.Source ?? mount.Name ?? '',
    destination: mount.Destination ?? '',
    volume: mount.Name ?? null,
    writable: mount.RW !== false,
  };
}
