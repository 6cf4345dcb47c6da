import type { SimulatedGuest } from './agent-guest.ts';
import type { AgentWorld } from './agent-world.ts';
import { brokenNow, remember } from './controller-invariants.ts';
import { expected, mixedGuest } from './controller-scenarios.ts';
import { beginBackup, beginRecover, type Ended, makeWorld, type World } from './controller-world.ts';
import type { CrashPoint } from './doom.ts';
import { inMemoryAgent } from './joint-transport.ts';

/** Enough for an order of starts, a health check, a one-shot that is over, and what is off or kept running. */
const names = ['db', 'app', 'migrate', 'off', 'proxy'];
/** Longer than any stop may stay in flight. */
const settledMs = 60_000;

export interface JointGuestOptions {
  /** Where its controller dies; null: nowhere. */
  crash: CrashPoint | null;
  losesAnswers: boolean;
}

/** A guest with the real controller over an engine in memory, which speaks to whatever agent lives. */
export class JointGuest implements SimulatedGuest {
  readonly own: World;
  /** What the run did, in order. */
  trace: readonly string[] = [];
  private readonly options: JointGuestOptions;
  private readonly world: AgentWorld;
  private readonly found: string[] = [];

  constructor(world: AgentWorld, options: JointGuestOptions) {
    this.world = world;
    this.options = options;
    const containers = () => mixedGuest().filter(({ name }) => names.includes(name));
    this.own = makeWorld({ name: 'joint', containers }, world.clock);
    const { losesAnswers } = options;
    this.own.host = inMemoryAgent(world, { bootId: () => this.own.shutdown.bootId, losesAnswers });
  }

  appsDown(): boolean {
    return this.own.fake.running().every((name) => expected.kept.some((each) => each === name));
  }

  power(): void {
    throw new Error('a joint world has no stop mode');
  }

  die(): void {
    throw new Error('a joint world has no host that restarts');
  }

  async play(): Promise<void> {
    const { clock } = this.world;
    const before = remember(this.own);
    const run = await beginBackup(this.own, this.options.crash);
    this.trace = run.trace;
    this.judgeRun(run);
    // The guard recovers at once, a timer every minute.
    for (let tries = 0; tries < 8; tries += 1) {
      const { end } = await beginRecover(this.own);
      if (end?.outcome === 'nothing') break;
      await clock.sleep(60_000);
    }
    await clock.sleep(settledMs);
    this.found.push(...this.own.violations, ...brokenNow(this.own, before));
  }

  broken(): readonly string[] {
    return this.found;
  }

  private judgeRun({ end }: Ended<{ result: { grade: string | null } }>): void {
    if (end?.result.grade === 'app-consistent' && !this.world.node.isCaptured())
      this.found.push('a run calls itself app-consistent although no point in time was captured');
  }
}
