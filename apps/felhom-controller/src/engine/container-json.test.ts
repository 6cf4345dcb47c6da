import { describe, expect, it } from 'vitest';
import { inspectAnswer, parseDependencies, toContainerState } from './container-json.ts';

const inspected = {
  Id: 'abc',
  Name: '/shop-app-1',
  Image: 'sha256:1',
  RestartCount: 2,
  State: {
    Status: 'running',
    StartedAt: '2026-11-20T01:00:00.123456789Z',
    FinishedAt: '0001-01-01T00:00:00Z',
    ExitCode: 0,
  },
  HostConfig: {
    RestartPolicy: { Name: '' },
    NetworkMode: 'container:def',
    PidMode: 'container:def',
    IpcMode: 'private',
  },
  Config: {
    Image: 'app',
    Labels: {
      'com.docker.compose.oneoff': 'True',
      'com.docker.compose.project.config_files': '/a.yaml,/b.yaml',
      secret: 'x',
    },
  },
};

describe('what the engine answers', () => {
  it('keeps the start time to the nanosecond, as a string', () => {
    expect(toContainerState(inspectAnswer.parse(inspected)).startedAt).toBe('2026-11-20T01:00:00.123456789Z');
  });

  it('is read with everything optional left out', () => {
    expect(toContainerState(inspectAnswer.parse(inspected))).toMatchObject({
      name: 'shop-app-1',
      oneoff: true,
      restartPolicy: 'no',
      namespacesOf: ['def'],
      composeFiles: ['/a.yaml', '/b.yaml'],
      labels: {},
      health: { status: 'none' },
      stopTimeoutSeconds: null,
    });
  });

  it('tells how long a start may take to be healthy, with the defaults of the engine', () => {
    const withHealth = {
      ...inspected,
      State: { ...inspected.State, Health: { Status: 'starting' } },
      Config: { ...inspected.Config, Healthcheck: { Test: ['CMD', 'true'], StartPeriod: 5e9, Interval: 1e9 } },
    };
    expect(toContainerState(inspectAnswer.parse(withHealth)).health).toEqual({
      status: 'starting',
      startLimitMs: 5_000 + 3 * 31_000,
      startPeriodMs: 5_000,
    });
  });

  it('reads dependencies as every Compose wrote them', () => {
    expect(parseDependencies('db:service_healthy:true,cache')).toEqual([
      { service: 'db', condition: 'service_healthy', restart: true },
      { service: 'cache', condition: 'service_started', restart: false },
    ]);
    expect(parseDependencies('')).toEqual([]);
  });
});
