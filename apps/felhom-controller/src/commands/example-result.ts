import type { RunResult } from '../quiesce/result.ts';

/** A finished run, for tests of what is printed and kept. */
export function exampleResult(change: Partial<RunResult> = {}): RunResult {
  return {
    schema: 'felhom.backup/1',
    run_id: '20261120T010000-a1b2c3',
    job_id: 'job-1',
    outcome: 'done',
    grade: 'app-consistent',
    grade_reason: null,
    mode: 'snapshot',
    gate: 'hook',
    target: { storage: 'pbs', type: 'pbs' },
    volid: 'pbs:backup/ct/101/2026-11-20T01:00:07Z',
    size_bytes: 1024,
    started_at: '2026-11-20T01:00:00.000Z',
    duration_ms: 221_000,
    downtime_ms: 800,
    stacks: [
      {
        name: 'nextcloud',
        containers: 2,
        clean_stop: true,
        killed: [],
        slowest_stop: { container: 'nextcloud-app-1', ms: 200 },
        downtime_ms: 800,
        healthy_ms: null,
      },
      {
        name: 'paperless',
        containers: 3,
        clean_stop: true,
        killed: [],
        slowest_stop: { container: 'paperless-gotenberg-1', ms: 400 },
        downtime_ms: 600,
        healthy_ms: null,
      },
    ],
    kept_running: [{ stack: 'traefik', container: 'traefik-traefik-1', why: 'keep' }],
    excluded: [{ mount: '/srv/media', why: 'bind mount of the host' }],
    timeline: [
      { at: '2026-11-20T01:00:06.000Z', offset_ms: 6_000, event: 'ready' },
      { at: '2026-11-20T01:00:06.100Z', offset_ms: 6_100, event: 'stopping', stack: 'nextcloud' },
      { at: '2026-11-20T01:00:06.900Z', offset_ms: 6_900, event: 'running', stack: 'nextcloud' },
    ],
    owed: [],
    warnings: [],
    error: null,
    ...change,
  };
}
