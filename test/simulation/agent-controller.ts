import type { JobStatus } from '@felhom/guest-api/schema.ts';
import type { SimulatedGuest } from './agent-guest.ts';
import type { AgentWorld } from './agent-world.ts';

const controllerDeadlineMs = 60_000;
const pollMs = 5_000;
/** A job that has not ended by then never will. */
const patienceMs = 30 * 60_000;

/** What the controller of one run knows. */
interface Known {
  /** When its apps will be down; null: none was stopped yet. */
  tellAtMs: number | null;
  told: boolean;
  /** The apps stayed down until the proof. */
  held: boolean;
}

/** A controller that keeps its part: it stops only what it has seen ready, and starts it again whatever happens. */
export class PlainGuest implements SimulatedGuest {
  private readonly world: AgentWorld;
  private up = true;
  private endLife: () => void = () => undefined;

  constructor(world: AgentWorld) {
    this.world = world;
  }

  appsDown(): boolean {
    return !this.up;
  }

  power(running: boolean): void {
    this.up = running;
  }

  /** Its host went down: nothing of the run is left, and the next boot settles what it owed. */
  die(): void {
    this.endLife();
  }

  async play(): Promise<void> {
    const gone = new Promise<void>((resolve) => {
      this.endLife = resolve;
    });
    await Promise.race([this.run(), gone]);
  }

  broken(): readonly string[] {
    return this.up || !this.world.node.guest.running ? [] : ['the apps are down'];
  }

  private async run(): Promise<void> {
    const { scenario } = this.world;
    const jobId = await this.findJob();
    if (jobId === null || scenario.controller === 'dies asking') return;
    const known: Known = { tellAtMs: null, told: false, held: true };
    if (!(await this.follow(jobId, known))) return;
    const grade = known.told && known.held ? ('app-consistent' as const) : ('crash-consistent' as const);
    await this.world.ask('report', async (app) => {
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

  /** False: it died on the way. */
  private async follow(jobId: string, known: Known): Promise<boolean> {
    const { clock, scenario } = this.world;
    let after = -1;
    for (;;) {
      const { tellAtMs } = known;
      const lateMs = tellAtMs === null ? Number.POSITIVE_INFINITY : tellAtMs + controllerDeadlineMs;
      const isStopping = tellAtMs !== null && !known.told && known.held;
      const waitMs = isStopping ? tellAtMs - clock.monotonicMs() : pollMs;
      const status = await this.poll(jobId, { after, waitMs, untilMs: lateMs }).catch(() => null);
      if (status !== null) after = status.seq;
      await this.judge(jobId, status, { known, late: clock.monotonicMs() >= lateMs });
      const forever = clock.monotonicMs() > patienceMs;
      if (forever || status === null || ['done', 'failed', 'cancelled'].includes(status.phase)) return true;
      if (tellAtMs === null && status.phase === 'ready') {
        if (scenario.controller === 'dies at its gate') return false;
        if (scenario.controller === 'cancels') await this.cancel(jobId);
        else known.tellAtMs = clock.monotonicMs() + (scenario.stopMs ?? 200);
      } else if (isStopping && known.held && clock.monotonicMs() >= tellAtMs) await this.tell(jobId, known, lateMs);
    }
  }

  /** Whatever ends the waiting brings the apps back. */
  private async judge(
    jobId: string,
    status: JobStatus | null,
    { known, late }: { known: Known; late: boolean },
  ): Promise<void> {
    const proven = status !== null && ['snapshotted', 'done'].includes(status.phase);
    const over = status !== null && ['failed', 'cancelled'].includes(status.phase);
    const broken = late || status === null || over || status.degraded !== null;
    if (known.tellAtMs === null || !(proven || broken)) return;
    if (proven && !broken && !this.world.node.isCaptured())
      this.world.violation('the job was called captured before there was a point in time');
    if (broken) known.held = false;
    if (this.up) return;
    this.up = true;
    // Advice alone: asked once, whoever hears it.
    await this.world.call('resumed', async (app) => app.service.resumed(jobId)).catch(() => undefined);
  }

  private async tell(jobId: string, known: Known, untilMs: number): Promise<void> {
    known.told = true;
    this.up = false;
    try {
      await this.world.ask('quiesced', async (app) => await app.service.quiesced(jobId), untilMs);
    } catch {
      // Gone, or nobody answered in time: the apps come back, and the report says so.
      known.held = false;
      this.up = true;
    }
  }

  private async cancel(jobId: string): Promise<void> {
    const how = { force: false, by: 'its controller' };
    await this.world.ask('cancel', async (app) => await app.service.cancel(jobId, how)).catch(() => undefined);
  }

  private async findJob(): Promise<string | null> {
    const { world } = this;
    const untilMs = world.clock.monotonicMs() + 10_000;
    if ((world.scenario.asks ?? 'controller') === 'controller') {
      const job = await world.ask('start', async (app) => {
        app.api.heard(101);
        return await app.service.startForGuest(101, { run_id: 'run' }, 'key');
      });
      return job.job_id;
    }
    while (world.clock.monotonicMs() < untilMs) {
      const due = await world.ask('due', async (app) => {
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

  private async poll(
    jobId: string,
    { after, waitMs, untilMs }: { after: number; waitMs: number; untilMs: number },
  ): Promise<JobStatus> {
    const { world } = this;
    while (world.node.isFrozen()) await world.clock.sleep(100);
    const poll = async (app: Parameters<Parameters<AgentWorld['ask']>[1]>[0]): Promise<JobStatus> => {
      app.api.heard(101);
      const job = app.jobs.get(jobId);
      if (job === undefined) throw new Error('no such job');
      app.service.poll(job);
      const stale = after > job.seq;
      if (!stale && (app.jobs.told(jobId)?.seq ?? 0) <= after) await app.jobs.waitFor(jobId, after, waitMs);
      const told = app.jobs.told(jobId) ?? job;
      app.service.poll(told);
      return app.service.status(told);
    };
    return await world.ask('status', poll, untilMs);
  }
}
