import type { JobStatus } from '@felhom/guest-api/schema.ts';
import type { AgentWorld } from './agent-world.ts';

const controllerDeadlineMs = 60_000;

/** A controller that keeps its part: it stops only what it has seen ready, and starts it again whatever happens. */
export async function playController(world: AgentWorld): Promise<void> {
  const jobId = await findJob(world);
  if (jobId === null) return;
  const down = { sinceMs: null as number | null, held: true };
  let after = -1;
  for (;;) {
    const lateMs = down.sinceMs === null ? Number.POSITIVE_INFINITY : down.sinceMs + controllerDeadlineMs;
    const status = await poll(world, jobId, after, lateMs).catch(() => null);
    if (status !== null) after = status.seq;
    const late = world.clock.monotonicMs() >= lateMs;
    const over =
      late ||
      status === null ||
      ['snapshotted', 'done', 'failed', 'cancelled'].includes(status.phase) ||
      status.degraded !== null;
    if (down.sinceMs !== null && !world.apps.up && over) {
      if (late || status === null || status.degraded !== null) down.held = false;
      world.appsCome();
      await world.call(async (app) => app.service.resumed(jobId)).catch(() => undefined);
    }
    if (status?.phase === 'failed' || status?.phase === 'cancelled') down.held = false;
    if (status === null || ['done', 'failed', 'cancelled'].includes(status.phase)) break;
    if (status.phase === 'ready' && down.sinceMs === null) {
      if (world.scenario.controllerDies === true) return;
      down.sinceMs = world.clock.monotonicMs();
      await stopAndTell(world, jobId, down);
    }
  }
  const grade = down.sinceMs !== null && down.held ? ('app-consistent' as const) : ('crash-consistent' as const);
  await world.ask(async (app) => {
    app.api.heard(101);
    await app.service.report(jobId, {
      run_id: 'run',
      grade,
      grade_reason: null,
      downtime_ms: null,
      kept_running: [],
      timeline: [],
    });
  });
}

async function stopAndTell(
  world: AgentWorld,
  jobId: string,
  down: { sinceMs: number | null; held: boolean },
): Promise<void> {
  await world.clock.sleep(200);
  world.appsGo();
  try {
    await world.ask(async (app) => await app.service.quiesced(jobId), (down.sinceMs ?? 0) + controllerDeadlineMs);
  } catch {
    // Gone, or nobody answered in time: the apps come back, and the report says so.
    down.held = false;
    world.appsCome();
  }
}

async function findJob(world: AgentWorld): Promise<string | null> {
  const untilMs = world.clock.monotonicMs() + 60_000;
  if ((world.scenario.asks ?? 'controller') === 'controller') {
    const job = await world.ask(async (app) => {
      app.api.heard(101);
      return await app.service.startForGuest(101, { run_id: 'run' }, 'key');
    });
    return job.job_id;
  }
  while (world.clock.monotonicMs() < untilMs) {
    const due = await world.ask(async (app) => {
      app.api.heard(101);
      return await app.due.waitForDue(101, 20_000, new AbortController().signal);
    });
    if (due.job_id !== undefined) return due.job_id;
    // A job that went past its gate while nobody answered is only followed.
    const missed = world.jobs()[0];
    if (missed !== undefined) return missed.job_id;
    await world.clock.sleep(500);
  }
  return null;
}

async function poll(world: AgentWorld, jobId: string, after: number, untilMs: number): Promise<JobStatus> {
  while (world.node.isFrozen()) await world.clock.sleep(100);
  return await world.ask(async (app) => {
    app.api.heard(101);
    const job = app.jobs.get(jobId);
    if (job === undefined) throw new Error('no such job');
    app.service.poll(job);
    const stale = after > job.seq;
    if (!stale && (app.jobs.told(jobId)?.seq ?? 0) <= after) await app.jobs.waitFor(jobId, after, 5_000);
    const told = app.jobs.told(jobId) ?? job;
    app.service.poll(told);
    return app.service.status(told);
  }, untilMs);
}
