import { silentLog } from '@felhom/cli/log.ts';
import type { MarkerRead } from '@felhom/durable/marker-store.ts';
import type { StateFile } from '@felhom/durable/state-file.ts';
import type { JobStatus } from '@felhom/guest-api/schema.ts';
import type { HookCall } from 'felhom-agent/backup/hook-gate.ts';
import { createHypervisor } from 'felhom-agent/backup/hypervisor.ts';
import { type JobRecord, jobMachine, replay } from 'felhom-agent/backup/job.ts';
import type { Alert, Hypervisor, Lane } from 'felhom-agent/backup/ports.ts';
import { agentConfigSchema, guestFileSchema } from 'felhom-agent/config.ts';
import { type AgentApp, createAgentApp } from 'felhom-agent/serve/app.ts';
import { type GuestsFile, openGuestsState } from 'felhom-agent/serve/guests-state.ts';
import { type SimulatedNode, simulateNode } from './agent-node.ts';
import type { NodePlan } from './agent-vzdump.ts';
import { type CrashPoint, type Doom, doom } from './doom.ts';
import { type VirtualClock, virtualClock } from './virtual-clock.ts';

/*
 * A host, its agent and one guest with its controller. The node, the journal and the guest outlive every agent;
 * agents come and go, each with every effect of its own counted.
 */

export interface AgentScenario {
  name: string;
  gate: 'hook' | 'log';
  node?: NodePlan;
  /** Who asks for the backup. Default: the controller. */
  asks?: 'controller' | 'operator' | 'pve';
  /** The controller disappears when its gate is ready. */
  controllerDies?: boolean;
  /** Nobody calls. */
  unwatched?: boolean;
  /** How the one job ends when nothing crashes. */
  ends: 'done' | 'failed';
  grade?: 'app-consistent' | 'crash-consistent';
  policy?: Record<string, unknown>;
  bounds?: Record<string, string>;
}

export interface AgentRun {
  violations: string[];
  records: readonly JobRecord[];
  node: SimulatedNode;
  traces: readonly (readonly string[])[];
  alerts: readonly Alert[];
  appsUp: boolean;
  /** Milliseconds that the apps were down. */
  downMs: number;
}

const restartMs = 1_500;
const controllerDeadlineMs = 60_000;
const bounds = { min_interval: '0s', storage_cache: '0s', guest_cache: '0s', owed_retry: '1s' };

/** Plays a scenario to its end; the n-th agent ends at the n-th crash point, the one after the last lives. */
export async function playAgent(scenario: AgentScenario, crashes: readonly CrashPoint[]): Promise<AgentRun> {
  const clock = virtualClock();
  const world = new AgentWorld(scenario, clock, crashes);
  await clock.run(world.play());
  return world.result();
}

class AgentWorld {
  readonly records: JobRecord[] = [];
  readonly lives: Doom[] = [];
  readonly alerts = new Map<string, Alert>();
  readonly node: SimulatedNode;
  readonly scenario: AgentScenario;
  readonly clock: VirtualClock;
  readonly crashes: readonly CrashPoint[];
  readonly lanes = new Map<string, Doom>();
  guestsFile: GuestsFile | null = null;
  app: { app: AgentApp; life: Doom } | null = null;
  apps = { up: true, downSinceMs: 0, downMs: 0 };
  ids = 0;

  constructor(scenario: AgentScenario, clock: VirtualClock, crashes: readonly CrashPoint[]) {
    this.scenario = scenario;
    this.clock = clock;
    this.crashes = crashes;
    this.node = simulateNode({
      clock,
      plan: { hook: scenario.gate === 'hook', ...scenario.node },
      appsDown: () => !this.apps.up,
      hook: async (call) => await this.runHook(call),
      onPower: (running) => (running ? this.appsCome() : this.appsGo()),
    });
  }

  async play(): Promise<void> {
    await this.startAgent();
    await this.clock.sleep(10);
    const controller = this.scenario.unwatched === true ? Promise.resolve() : this.controller();
    if (this.scenario.asks === 'pve') this.clock.after(100, () => void this.node.startOwnJob());
    if (this.scenario.asks === 'operator')
      await this.ask(async (app) => {
        if (app.jobs.all().length === 0) await app.service.startForOperator(101, { quiesce: true });
      });
    await controller;
    await this.settled();
  }

  /** Until nothing runs and nothing is owed, and then once more: an agent that starts on a settled state changes nothing. */
  async settled(): Promise<void> {
    const untilMs = this.clock.monotonicMs() + 15 * 60_000;
    while (this.clock.monotonicMs() < untilMs) {
      await this.clock.sleep(500);
      if (this.app !== null && this.node.isIdle() && this.jobs().length > 0 && this.jobs().every(isQuiet)) break;
    }
    const before = { records: this.records.length, posts: this.node.posts.length };
    this.app?.life.kill();
    await this.clock.sleep(restartMs + 5_000);
    if (this.records.length !== before.records) this.violation('a second recovery changed the journal');
    if (this.node.posts.length !== before.posts) this.violation('a second recovery posted');
  }

  jobs() {
    return [...replay(this.records).values()];
  }

  violation(text: string): void {
    this.node.violations.push(text);
  }

  result(): AgentRun {
    const { node, records, lives, alerts, apps } = this;
    const traces = lives.map((life) => life.trace);
    return {
      violations: this.judged(),
      records,
      node,
      traces,
      alerts: [...alerts.values()],
      appsUp: apps.up,
      downMs: apps.downMs,
    };
  }

  judged(): string[] {
    const found = [...this.node.violations];
    for (const job of this.jobs()) {
      if (!isQuiet(job))
        found.push(`job ${job.job_id} is not settled: ${job.phase}, notes ${job.notes}, guest ${job.guest_owed}`);
      const walk = this.records.flatMap((record) => {
        if (record.kind === 'opened') return record.job.job_id === job.job_id ? [record.job.phase] : [];
        return record.job_id === job.job_id && record.set.phase !== undefined ? [record.set.phase] : [];
      });
      if (!jobMachine.isLegalWalk(walk)) found.push(`the phases of ${job.job_id} are no legal walk: ${walk.join(' ')}`);
      if (job.phase === 'done' && job.volid !== null && !this.node.archives.some((each) => each.volid === job.volid))
        found.push(`${job.job_id} names an archive that is not there`);
    }
    for (const { notes, appsDown } of this.node.archives) {
      if (/^felhom\/1 \S+ app-consistent/.test(notes) && !appsDown)
        found.push('an archive is called app-consistent although an app ran at its point in time');
      if (/^felhom\/1 \S+ pending/.test(notes)) found.push('the notes of an archive are still pending');
    }
    if (!this.apps.up) found.push('the apps are down');
    if (!this.node.guest.running) found.push('the guest is down');
    if (this.node.guest.lock !== null) found.push('the guest is locked');
    if (!this.node.isIdle()) found.push('a task still runs');
    return found;
  }

  appsGo(): void {
    if (!this.apps.up) return;
    this.apps = { ...this.apps, up: false, downSinceMs: this.clock.monotonicMs() };
  }

  appsCome(): void {
    if (this.apps.up) return;
    this.apps = {
      up: true,
      downSinceMs: 0,
      downMs: this.apps.downMs + this.clock.monotonicMs() - this.apps.downSinceMs,
    };
  }

  async startAgent(): Promise<void> {
    const stop = new AbortController();
    const life = doom(this.crashes[this.lives.length] ?? null, this.clock, { untilMs: 0 }, () => {
      this.app = null;
      stop.abort();
      for (const [name, holder] of this.lanes) if (holder === life) this.lanes.delete(name);
      this.clock.after(restartMs, () => void this.startAgent());
    });
    this.lives.push(life);
    const app = await this.openApp(life, stop.signal);
    if (life.isDead()) return;
    await app.recover();
    if (!life.isDead()) this.app = { app, life };
  }

  async openApp(life: Doom, stop: AbortSignal): Promise<AgentApp> {
    const { clock, scenario } = this;
    const config = agentConfigSchema.parse({
      pve: { url: 'https://127.0.0.1:8006', token_file: '/nowhere' },
      gate: scenario.gate,
      preflight: { headroom: '1B' },
      bounds: { ...bounds, ...scenario.bounds },
    });
    const guest = guestFileSchema.parse({
      vmid: 101,
      token_sha256: 'ab'.repeat(32),
      backup: [{ storage: 'bk', every: '1d', ...scenario.policy }],
    });
    return createAgentApp({
      config,
      guestFiles: new Map([[101, guest]]),
      pve: doomed(createHypervisor(this.node.client), life),
      journal: {
        append: async (record) =>
          await life.effect('journal.append', async () => {
            await Promise.resolve();
            const isLast = life.isDead();
            await clock.sleep(3);
            // A power cut in the middle of a write takes it along; one right after it does not.
            if (isLast || !life.isDead()) this.records.push(structuredClone(record));
          }),
      },
      records: structuredClone(this.records),
      lanes: {
        tryGuest: async (vmid) => await this.lane(life, `guest-${vmid}`),
        trySlot: async () => await this.lane(life, 'slot'),
      },
      helper: { unfreeze: async () => await life.effect('helper.unfreeze', async () => false) },
      alerts: {
        raise: (alert) => void (life.isDead() || this.alerts.set(alert.key, { ...alert, at: 'now' })),
        clear: (key) => void (life.isDead() || this.alerts.delete(key)),
        list: () => [...this.alerts.values()],
      },
      guests: await openGuestsState(this.guestsState(life), () => [{ vmid: 101, sha256: 'ab'.repeat(32) }]),
      clock: {
        nowMs: clock.nowMs,
        monotonicMs: clock.monotonicMs,
        sleep: async (ms, signal) => {
          await clock.sleep(ms, signal);
          if (life.isDead()) await new Promise(() => undefined);
        },
      },
      newId: () => {
        this.ids += 1;
        return `job-${this.ids}`;
      },
      hostBootId: 'boot',
      gateKind: () => scenario.gate,
      stop,
      log: (message, fields) => silentLog.info(message, fields),
    });
  }

  guestsState(life: Doom): StateFile<GuestsFile> {
    return {
      read: async (): Promise<MarkerRead<GuestsFile>> =>
        this.guestsFile === null ? { kind: 'absent' } : { kind: 'present', value: structuredClone(this.guestsFile) },
      write: async (value) =>
        await life.effect('guests.write', async () => {
          await this.clock.sleep(3);
          this.guestsFile = structuredClone(value);
        }),
      remove: async () => undefined,
    };
  }

  async lane(life: Doom, name: string): Promise<Lane | null> {
    return await life.effect(`lane.${name}`, async () => {
      if (this.lanes.has(name)) return null;
      this.lanes.set(name, life);
      return {
        release: async () => {
          if (this.lanes.get(name) === life) this.lanes.delete(name);
        },
      };
    });
  }

  /** A call to whatever agent lives; rejects when there is none, or when it dies over it. */
  async call<T>(work: (app: AgentApp) => Promise<T>): Promise<T> {
    const now = this.app;
    if (now === null) throw new Error('unreachable');
    const died = now.life.died.then(() => Promise.reject(new Error('unreachable')));
    return await Promise.race([work(now.app), died]);
  }

  /** The same, tried again while nobody answers. */
  async ask<T>(work: (app: AgentApp) => Promise<T>, untilMs = Number.POSITIVE_INFINITY): Promise<T> {
    for (;;) {
      try {
        return await this.call(work);
      } catch (error) {
        const gone = error instanceof Error && error.message === 'unreachable';
        if (!gone || this.clock.monotonicMs() >= untilMs) throw error;
        await this.clock.sleep(200);
      }
    }
  }

  /** Our hook script: first contact or none; once admitted it comes back by its gate until the hold is over. */
  async runHook(call: HookCall): Promise<boolean> {
    const answer = await this.call(async (app) => await app.hook.call(call)).catch(() => 'go');
    const [word, gate = '', seconds = '0'] = answer.split(' ');
    if (word !== 'gate') return word !== 'fail';
    const untilMs = this.clock.monotonicMs() + Number(seconds) * 1_000;
    while (this.clock.monotonicMs() < untilMs) {
      const verdict = await this.call(async (app) => await app.hook.wait(gate, new AbortController().signal)).catch(
        () => null,
      );
      if (verdict === null) await this.clock.sleep(200);
      else if (verdict !== 'wait') return !verdict.startsWith('fail');
    }
    return true;
  }

  /** A controller that keeps its part: it stops only what it has seen ready, and starts it again whatever happens. */
  async controller(): Promise<void> {
    const jobId = await this.findJob();
    if (jobId === null) return;
    const down = { sinceMs: null as number | null, held: true };
    let after = -1;
    for (;;) {
      const lateMs = down.sinceMs === null ? Number.POSITIVE_INFINITY : down.sinceMs + controllerDeadlineMs;
      const status = await this.poll(jobId, after, lateMs).catch(() => null);
      if (status !== null) after = status.seq;
      const late = this.clock.monotonicMs() >= lateMs;
      const over =
        late ||
        status === null ||
        ['snapshotted', 'done', 'failed', 'cancelled'].includes(status.phase) ||
        status.degraded !== null;
      if (down.sinceMs !== null && !this.apps.up && over) {
        if (late || status === null || status.degraded !== null) down.held = false;
        this.appsCome();
      }
      if (status?.phase === 'failed' || status?.phase === 'cancelled') down.held = false;
      if (status === null || ['done', 'failed', 'cancelled'].includes(status.phase)) break;
      if (status.phase === 'ready' && down.sinceMs === null) {
        if (this.scenario.controllerDies === true) return;
        down.sinceMs = this.clock.monotonicMs();
        await this.stopAndTell(jobId, down);
      }
    }
    const grade = down.sinceMs !== null && down.held ? ('app-consistent' as const) : ('crash-consistent' as const);
    await this.ask(async (app) => {
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

  async stopAndTell(jobId: string, down: { sinceMs: number | null; held: boolean }): Promise<void> {
    await this.clock.sleep(200);
    this.appsGo();
    try {
      await this.ask(async (app) => await app.service.quiesced(jobId), (down.sinceMs ?? 0) + controllerDeadlineMs);
    } catch {
      // Gone, or nobody answered in time: the apps come back, and the report says so.
      down.held = false;
      this.appsCome();
    }
  }

  async findJob(): Promise<string | null> {
    const untilMs = this.clock.monotonicMs() + 60_000;
    if ((this.scenario.asks ?? 'controller') === 'controller') {
      const job = await this.ask(async (app) => {
        app.api.heard(101);
        return await app.service.startForGuest(101, { run_id: 'run' }, 'key');
      });
      return job.job_id;
    }
    while (this.clock.monotonicMs() < untilMs) {
      const due = await this.ask(async (app) => {
        app.api.heard(101);
        return await app.due.waitForDue(101, 20_000, new AbortController().signal);
      });
      if (due.job_id !== undefined) return due.job_id;
      // A job that went past its gate while nobody answered is only followed.
      const missed = this.jobs()[0];
      if (missed !== undefined) return missed.job_id;
      await this.clock.sleep(500);
    }
    return null;
  }

  async poll(jobId: string, after: number, untilMs: number): Promise<JobStatus> {
    while (this.node.isFrozen()) await this.clock.sleep(100);
    return await this.ask(async (app) => {
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
}

type ReplayedJob = ReturnType<AgentWorld['jobs']>[number];

function isQuiet(job: ReplayedJob): boolean {
  const over = ['done', 'failed', 'cancelled'].includes(job.phase);
  const ended = job.task_ended || (job.intent_at === null && job.upid === null && job.origin !== 'pve');
  return over && ended && job.notes !== 'owed' && job.guest_owed !== 'owed';
}

/** Every call to the node as an effect of this life. */
function doomed(pve: Hypervisor, life: Doom): Hypervisor {
  const through = <A extends unknown[], R>(name: string, call: (...args: A) => Promise<R>) => {
    return async (...args: A): Promise<R> => await life.effect(name, async () => await call(...args));
  };
  return {
    node: pve.node,
    guests: through('pve.guests', pve.guests),
    guest: through('pve.guest', pve.guest),
    whereIs: through('pve.whereIs', pve.whereIs),
    volumes: through('pve.volumes', pve.volumes),
    startBackup: through('pve.startBackup', pve.startBackup),
    findStarted: through('pve.findStarted', pve.findStarted),
    tasks: through('pve.tasks', pve.tasks),
    task: through('pve.task', pve.task),
    taskLog: through('pve.taskLog', pve.taskLog),
    stopTask: through('pve.stopTask', pve.stopTask),
    startGuest: through('pve.startGuest', pve.startGuest),
    storage: through('pve.storage', pve.storage),
    backups: through('pve.backups', pve.backups),
    writeNotes: through('pve.writeNotes', pve.writeNotes),
    logReader: pve.logReader,
  };
}
