import { createHash } from 'node:crypto';
import { type JobRecord, replay } from 'felhom-agent/backup/job.ts';
import type { Alert } from 'felhom-agent/backup/ports.ts';
import type { AgentApp } from 'felhom-agent/serve/app.ts';
import type { GuestsFile } from 'felhom-agent/serve/guests-state.ts';
import type { SimulatedGuest } from './agent-guest.ts';
import { runHook } from './agent-hook.ts';
import { isQuiet, wrongLane, wrongPost } from './agent-judge.ts';
import { type Mutation, openApp } from './agent-life.ts';
import { type SimulatedNode, simulateNode } from './agent-node.ts';
import type { AgentScenario } from './agent-scenario.ts';
import { type CrashPoint, type Doom, doom } from './doom.ts';
import type { VirtualClock } from './virtual-clock.ts';

/*
 * A host, its agent and one guest. The node, the journal and the guest outlive every agent; agents come and go, each
 * with every effect of its own counted.
 *
 * - Whoever finds no agent asks again at the next full 200 ms, and the service manager starts a new one at a full half
 *   second: what a dead agent leaves behind is then the same for every death in between.
 * - `history` holds all that ever came from an agent, with its time. All else follows from it by itself: two worlds in
 *   which a new agent is born at one time, after one history and over one disk, go on alike.
 */

export interface WorldOptions {
  scenario: AgentScenario;
  clock: VirtualClock;
  /** The n-th agent ends at the n-th point; null: not by a crash. The one after the last lives. */
  crashes: readonly (CrashPoint | null)[];
  guest: (world: AgentWorld) => SimulatedGuest;
  mutate?: Mutation | undefined;
  /** Worlds that were played to their end already: one of them met again is left. */
  seen?: Set<string> | undefined;
}

const restartGridMs = 500;
const leastDeadMs = 200;
const retryGridMs = 200;
const bootMs = 20_000;

export class AgentWorld {
  readonly records: JobRecord[] = [];
  readonly lives: Doom[] = [];
  readonly alerts = new Map<string, Alert>();
  readonly lanes = new Map<string, Doom>();
  readonly history: string[] = [];
  readonly node: SimulatedNode;
  readonly guest: SimulatedGuest;
  readonly scenario: AgentScenario;
  readonly clock: VirtualClock;
  readonly mutate: Mutation;
  guestsFile: GuestsFile | null = null;
  app: { app: AgentApp; life: Doom } | null = null;
  ids = 0;
  bootId = 'boot-1';
  /** This world goes on as one that was played before. */
  readonly met: Promise<'met'>;
  private readonly options: WorldOptions;
  private bootedAtMs = 0;
  /** Wall clock; 0: it never was restarted. */
  rebootedAtMs = 0;
  private tellMet: (word: 'met') => void = () => undefined;

  constructor(options: WorldOptions) {
    const { scenario, clock } = options;
    this.options = options;
    this.scenario = scenario;
    this.clock = clock;
    this.mutate = options.mutate ?? ((ports) => ports);
    this.met = new Promise((resolve) => {
      this.tellMet = resolve;
    });
    this.guest = options.guest(this);
    this.node = simulateNode({
      clock,
      plan: { hook: scenario.gate === 'hook', ...scenario.node },
      appsDown: () => this.guest.appsDown(),
      hook: async (call) => await runHook(this, call),
      onPower: (running) => this.guest.power(running),
      onPost: (mark) => wrongPost(this, mark),
    });
  }

  async play(): Promise<void> {
    const { scenario, clock } = this;
    await this.startAgent();
    await clock.sleep(10);
    const guest = scenario.controller === 'never calls' ? Promise.resolve() : this.guest.play();
    if (scenario.hostRestartsAtMs !== undefined) clock.after(scenario.hostRestartsAtMs, () => this.restartHost());
    if (scenario.asks === 'pve') clock.after(100, () => void this.node.startOwnJob());
    if (scenario.asks === 'operator')
      await this.ask('request', async (app) => {
        if (app.jobs.all().length === 0) await app.service.startForOperator(101, { quiesce: true });
      });
    await guest;
    await this.settled();
  }

  /** Until nothing runs and nothing is owed, and then once more: an agent that starts on a settled state changes nothing. */
  private async settled(): Promise<void> {
    const { hostRestartsAtMs } = this.scenario;
    if (hostRestartsAtMs !== undefined) await this.clock.sleep(hostRestartsAtMs + bootMs - this.clock.monotonicMs());
    const beganMs = this.clock.monotonicMs();
    while (this.clock.monotonicMs() < beganMs + 15 * 60_000) {
      await this.clock.sleep(500);
      // A task that nobody told us of makes no job, and a controller that died before it asked asks for none.
      const begun = this.jobs().length > 0 || this.clock.monotonicMs() > beganMs + 10_000;
      if (this.app !== null && this.node.isIdle() && begun && this.jobs().every(isQuiet)) break;
    }
    for (const name of this.lanes.keys()) this.violation(`the lane ${name} is still held`);
    const before = { records: this.records.length, posts: this.node.posts.length };
    this.app?.life.kill();
    await this.clock.sleep(5_000);
    if (this.records.length !== before.records) this.violation('a second recovery changed the journal');
    if (this.node.posts.length !== before.posts) this.violation('a second recovery posted');
  }

  jobs() {
    return [...replay(this.records).values()];
  }

  violation(text: string): void {
    this.node.violations.push(text);
  }

  /** Something came from an agent. */
  note(what: string): void {
    this.history.push(`${this.clock.monotonicMs()} ${what}`);
  }

  checkLane(record: JobRecord, life: Doom): void {
    const wrong = wrongLane(this, record, life);
    if (wrong !== null) this.violation(wrong);
  }

  private async startAgent(): Promise<void> {
    const { clock, options, lives } = this;
    if (clock.monotonicMs() < this.bootedAtMs) return;
    if (lives.length > 0 && lives.length === options.crashes.length && this.isMet()) return this.tellMet('met');
    const stop = new AbortController();
    const life = doom(options.crashes[lives.length] ?? null, clock, { untilMs: 0 }, () => {
      this.app = null;
      stop.abort();
      for (const [name, holder] of this.lanes) if (holder === life) this.lanes.delete(name);
      const nowMs = clock.monotonicMs();
      // Off the grid of those who ask: nobody asks in the moment of its birth.
      const bornMs = Math.ceil((nowMs + leastDeadMs) / restartGridMs) * restartGridMs + 7;
      clock.after(bornMs - nowMs, () => void this.startAgent());
    });
    lives.push(life);
    const app = await openApp(this, life, stop.signal);
    if (life.isDead()) return;
    await app.recover();
    if (!life.isDead()) this.app = { app, life };
  }

  private isMet(): boolean {
    const { options, history, records, guestsFile, ids, bootId, alerts } = this;
    if (options.seen === undefined) return false;
    const state = [this.clock.monotonicMs(), history, records, guestsFile, ids, bootId, [...alerts.keys()]];
    const key = createHash('sha256').update(JSON.stringify(state)).digest('base64');
    if (options.seen.has(key)) return true;
    options.seen.add(key);
    return false;
  }

  /** Everything on the host ends; what lies on its disks is there again after a while. */
  private restartHost(): void {
    this.bootId = 'boot-2';
    this.rebootedAtMs = this.clock.nowMs();
    this.bootedAtMs = this.clock.monotonicMs() + bootMs;
    this.node.goDown();
    this.guest.die();
    const living = this.lives.at(-1);
    if (living?.isDead() === false) living.kill();
    this.clock.after(bootMs, () => {
      this.node.comeUp();
      void this.startAgent();
    });
    // Nobody but a person takes the lock away that a killed vzdump leaves.
    this.clock.after(bootMs + 60_000, () => {
      this.node.guest.lock = null;
    });
  }

  /** A call to whatever agent lives; rejects when there is none, or when it dies over it. */
  async call<T>(what: string, work: (app: AgentApp) => Promise<T>): Promise<T> {
    const now = this.app;
    // The hook goes on at once where there is nobody: that it did so is history.
    if (now === null) return await this.unreachable(what);
    const died = now.life.died.then(async () => await this.unreachable(what));
    try {
      const value = await Promise.race([work(now.app), died]);
      this.note(`${what}: ${JSON.stringify(value)}`);
      return value;
    } catch (error) {
      if (!isUnreachable(error)) this.note(`${what} failed: ${error instanceof Error ? error.message : String(error)}`);
      throw error;
    }
  }

  private async unreachable(what: string): Promise<never> {
    if (what.startsWith('hook') && what !== 'hook wait') this.note(`${what}: nobody answered`);
    throw new Error(unreachable);
  }

  /** The same, tried again while nobody answers. */
  async ask<T>(what: string, work: (app: AgentApp) => Promise<T>, untilMs = Number.POSITIVE_INFINITY): Promise<T> {
    const { bootId } = this;
    for (;;) {
      // Whoever asked went down with its host.
      if (this.bootId !== bootId) return await new Promise(() => undefined);
      try {
        return await this.call(what, work);
      } catch (error) {
        if (!isUnreachable(error)) throw error;
        if (this.clock.monotonicMs() >= untilMs) this.note(`${what}: given up`);
        if (this.clock.monotonicMs() >= untilMs) throw error;
        await this.pauseBeforeRetry();
      }
    }
  }

  async pauseBeforeRetry(): Promise<void> {
    const nowMs = this.clock.monotonicMs();
    await this.clock.sleep((Math.floor(nowMs / retryGridMs) + 1) * retryGridMs - nowMs);
  }
}

const unreachable = 'unreachable';

function isUnreachable(error: unknown): boolean {
  return error instanceof Error && error.message === unreachable;
}
