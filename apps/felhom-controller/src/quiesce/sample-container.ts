import type { ContainerState } from '../engine/engine.ts';

/** A running container for tests, with what is given and calm defaults. */
export function container(given: Partial<ContainerState> = {}): ContainerState {
  const name = given.name ?? 'app';
  return {
    id: `id-of-${name}`,
    name,
    project: null,
    service: null,
    number: null,
    oneoff: false,
    autoRemove: false,
    swarm: false,
    imageId: 'sha256:0',
    image: 'app',
    status: 'running',
    startedAt: '2026-11-20T01:00:00.000000001Z',
    finishedAt: '0001-01-01T00:00:00Z',
    exitCode: 0,
    oomKilled: false,
    pid: 1,
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
    ...given,
  };
}
