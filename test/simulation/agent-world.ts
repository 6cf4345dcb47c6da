import { silentLog } from '@felhom/cli/log.ts';
import type { MarkerRead } from '@felhom/durable/marker-store.ts';
import type { StateFile } from '@felhom/durable/state-file.ts';
import type { HookCall } from 'felhom-agent/backup/hook-gate.ts';
import { createHypervisor } from 'felhom-agent/backup/hypervisor.ts';
import { type JobRecord, replay } from 'felhom-agent/backup/job.ts';
import type { Alert } from 'felhom-agent/backup/ports.ts';
import { agentConfigSchema, guestFileSchema } from 'felhom-agent/config.ts';
import type { Lane } from 'felhom-agent/lanes/lanes.ts';
import { type AgentApp, createAgentApp } from 'felhom-agent/serve/app.ts';
import { type GuestsFile, openGuestsState } from 'felhom-agent/serve/guests-state.ts';
import { playController } from './agent-controller.ts';
import { doomed } from './agent-doom.ts';
import { isQuiet, judge } from './agent-judge.ts';
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
const bounds = { min_interval: '0s', storage_cache: '0s', guest_cache: '0s', owed_retry: '1s' };

/** Plays a scenario to its end; the n-th agent ends at the n-th crash point, the one after the last lives. */
export async function playAgent(scenario: AgentScenario, crashes: readonly CrashPoint[]): Promise<AgentRun> {
  const clock = virtualClock();
  const world = new AgentWorld(scenario, clock, crashes);
  await clock.run(world.play());
  return world.result();
}

export class AgentWorld {
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
    const guest = this.scenario.unwatched === true ? Promise.resolve() : playController(this);
    if (this.scenario.asks === 'pve') this.clock.after(100, () => void this.node.startOwnJob());
    if (this.scenario.asks === 'operator')
      await this.ask(async (app) => {
        if (app.jobs.all().length === 0) await app.service.startForOperator(101, { quiesce: true });
      });
    await guest;
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
      violations: judge(this),
      records,
      node,
      traces,
      alerts: [...alerts.values()],
      appsUp: apps.up,
      downMs: apps.downMs,
    };
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
}
