import { actionJournal } from 'felhom-agent/reconcile/action-journal.ts';
import { type ActionRecord, actionRecord, entriesOf } from 'felhom-agent/reconcile/action-record.ts';
import type { LastPass } from 'felhom-agent/reconcile/last-pass.ts';
import { runLoop } from 'felhom-agent/reconcile/loop.ts';
import type { Desired, DesiredGuest } from 'felhom-agent/reconcile/model.ts';
import { runPass } from 'felhom-agent/reconcile/pass.ts';
import type { ReconcileLimits, ReconcilePorts } from 'felhom-agent/reconcile/ports.ts';
import type { PassReport } from 'felhom-agent/reconcile/report.ts';
import { type CrashPoint, type Doom, doom } from './doom.ts';
import {
  ourUser,
  type ReconcilePlan,
  type SimGuest,
  type SimulatedReconcileNode,
  simulateReconcileNode,
} from './reconcile-node.ts';
import { type VirtualClock, virtualClock } from './virtual-clock.ts';

/*
 * A node, the journal of its agent, and agents that come and go: each makes one pass, as a timer would start it, with
 * every effect of its own counted. What was declared does not change.
 */

export interface ReconcileScenario {
  name: string;
  guests: readonly SimGuest[];
  desired: readonly DesiredGuest[];
  plan?: ReconcilePlan;
  /** Agents at a time, each a process of its own. Default 1. */
  agents?: number;
  /** Each agent is a loop with this interval, milliseconds: so short that work outlives the pass that began it. */
  loop?: number;
  /** How the guests end, as `101 running cores=4`. */
  ends: readonly string[];
  /** Calls of ours that take effect when nothing crashes, sorted. */
  effects: readonly string[];
}

export interface ReconcileRun {
  violations: string[];
  traces: readonly (readonly string[])[];
  reports: readonly PassReport[];
  records: readonly ActionRecord[];
  node: SimulatedReconcileNode;
}

export const reconcileLimits: ReconcileLimits = {
  lockPollMs: 1_000,
  stuckMs: 3_600_000,
  shutdownMs: 180_000,
  taskWaitMs: 600_000,
  taskPollMs: 1_000,
  lostStartMs: 35_000,
  stopGraceMs: 20_000,
  mutations: 4,
  configReads: 8,
};
const restartMs = 1_500;
const passesMost = 12;
const loopPassesMost = 100;

/** Plays a scenario to its end; the n-th agent ends at the n-th crash point, the ones after the last live. */
export async function playReconcile(
  scenario: ReconcileScenario,
  crashes: readonly CrashPoint[],
): Promise<ReconcileRun> {
  const clock = virtualClock();
  const world = new ReconcileWorld(scenario, clock, crashes);
  await clock.run(world.play());
  return world.result();
}

/** A world in which nothing crashes, for what is not played to an end. */
export function reconcileWorld(scenario: ReconcileScenario): ReconcileWorld {
  return new ReconcileWorld(scenario, virtualClock(), []);
}

/** The ports of an agent that lives. */
export function livePorts(world: ReconcileWorld): ReconcilePorts {
  return world.ports(doom(null, world.clock, { untilMs: 0 }, () => undefined));
}

export class ReconcileWorld {
  readonly records: ActionRecord[] = [];
  readonly lives: Doom[] = [];
  readonly lanes = new Map<string, Doom>();
  readonly reports: PassReport[] = [];
  readonly node: SimulatedReconcileNode;
  readonly scenario: ReconcileScenario;
  readonly clock: VirtualClock;
  readonly crashes: readonly CrashPoint[];
  memory: LastPass | null = null;
  ids = 0;

  constructor(scenario: ReconcileScenario, clock: VirtualClock, crashes: readonly CrashPoint[]) {
    this.scenario = scenario;
    this.clock = clock;
    this.crashes = crashes;
    this.node = simulateReconcileNode(clock, structuredClone(scenario.guests), {
      plan: scenario.plan ?? {},
      hasIntent: (vmid, kind) =>
        entriesOf(this.records).some(
          ({ intent, end }) => intent.vmid === vmid && intent.action.kind === kind && end === null,
        ),
    });
  }

  /** Passes until one finds everything in order, then one more that must change nothing. */
  async play(): Promise<void> {
    await Promise.all(Array.from({ length: this.scenario.agents ?? 1 }, async () => await this.passUntilDone()));
    await this.clock.sleep(60_000);
    const before = { records: this.records.length, effects: this.node.effects.length };
    await this.passOnce();
    if (this.records.length !== before.records) this.violation('a pass over a settled node wrote to the journal');
    if (this.node.effects.length !== before.effects) this.violation('a pass over a settled node changed something');
  }

  async passUntilDone(): Promise<void> {
    for (let pass = 1; pass <= passesMost; pass += 1) {
      const report = await this.passOnce();
      if (report !== null && ['in_sync', 'applied'].includes(report.outcome)) return;
      await this.clock.sleep(restartMs);
    }
    this.violation(`the guests are not as declared after ${passesMost} passes`);
  }

  /** null: the agent died in it. */
  async passOnce(): Promise<PassReport | null> {
    const life = doom(this.crashes[this.lives.length] ?? null, this.clock, { untilMs: 0 }, () => {
      for (const [name, holder] of this.lanes) if (holder === life) this.lanes.delete(name);
    });
    this.lives.push(life);
    const end = await Promise.race([this.work(this.ports(life)), life.died]);
    if (end === 'died') return null;
    this.reports.push(end);
    return end;
  }

  /** What an agent does in its life; answers its last report. */
  async work(ports: ReconcilePorts): Promise<PassReport> {
    const options = { limits: reconcileLimits, vmids: null, allowStops: null, allowMemoryBelowUse: false };
    const { loop: intervalMs } = this.scenario;
    if (intervalMs === undefined)
      return await runPass(ports, { ...options, lockTimeoutMs: 120_000, stop: new AbortController().signal });
    const stop = new AbortController();
    const told: PassReport[] = [];
    await runLoop(ports, {
      ...options,
      lockTimeoutMs: 0,
      intervalMs,
      longestPauseMs: 60_000,
      gateMs: 1_800_000,
      random: () => 0.5,
      stop: stop.signal,
      onReport: (report) => {
        told.push(report);
        if (report.outcome === 'in_sync' || told.length >= loopPassesMost) stop.abort();
      },
      onFailure: ({ message }) => this.violation(`no pass could be made: ${message}`),
    });
    const last = told.at(-1);
    if (last === undefined) throw new Error('the loop made no pass');
    return last;
  }

  ports(life: Doom): ReconcilePorts {
    const { clock } = this;
    const { pve } = this.node;
    const through = <A extends unknown[], R>(name: string, call: (...args: A) => Promise<R>) => {
      return async (...args: A): Promise<R> => await life.effect(name, async () => await call(...args));
    };
    const { guests, tasks, nodes } = pve;
    return {
      pve: {
        ...pve,
        guests: {
          ...guests,
          list: through('pve.list', guests.list),
          status: through('pve.status', guests.status),
          pending: through('pve.pending', guests.pending),
          setConfig: through('pve.setConfig', guests.setConfig),
          start: through('pve.start', guests.start),
          shutdown: through('pve.shutdown', guests.shutdown),
        },
        tasks: { ...tasks, status: through('pve.taskStatus', tasks.status), list: through('pve.tasks', tasks.list) },
        nodes: {
          ...nodes,
          clockSeconds: through('pve.clock', nodes.clockSeconds),
          clusterGuests: through('pve.cluster', nodes.clusterGuests),
        },
      },
      desired: { read: through('desired.read', async (): Promise<Desired> => this.desired()) },
      journal: actionJournal(
        {
          refresh: through('journal.refresh', async () => structuredClone(this.records)),
          decide: async (look) =>
            await life.effect('journal.decide', async () => {
              const { append, answer } = look(structuredClone(this.records));
              for (const record of append) this.records.push(actionRecord.parse(structuredClone(record)));
              await clock.sleep(3);
              return answer;
            }),
        },
        { nowMs: clock.nowMs, upMs: clock.monotonicMs },
      ),
      lanes: {
        tryGuest: async (vmid) => await this.lane(life, `guest-${vmid}`),
        guestHolder: async (vmid) => (this.lanes.has(`guest-${vmid}`) ? 'another' : null),
        tryMutation: async () => ({ release: async () => undefined }),
      },
      openJobs: async () => new Map(),
      heldNow: async () => null,
      changes: { begin: async () => ({ unchanged: () => false, conclude: () => undefined }) },
      memory: {
        read: async () => this.memory,
        write: through('memory.write', async (pass: LastPass) => {
          this.memory = pass;
        }),
      },
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
        return `id-${this.ids}`;
      },
      process: { pid: this.lives.length, bootId: 'boot', upMs: clock.monotonicMs },
      log: () => undefined,
    };
  }

  desired(): Desired {
    return { guests: this.scenario.desired, problems: [], version: null };
  }

  async lane(life: Doom, name: string): Promise<{ release(): Promise<void> } | null> {
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

  /** An entry of an agent that died just after it heard of its task. */
  leaveOpen({ vmid, kind, upid }: { vmid: number; kind: 'start' | 'shutdown'; upid: string }): void {
    const at = new Date(this.clock.nowMs()).toISOString();
    const who = { by: 'reconcile', pid: 1, boot_id: 'boot', boot_ms: 0 } as const;
    const what = { node: 'pve1', vmid, guest_kind: 'lxc', action: { kind }, node_seconds: null, known: [] } as const;
    this.records.push(actionRecord.parse({ kind: 'intent', id: 'left', key: 'left', at, ...who, ...what }));
    this.records.push({ kind: 'started', id: 'left', at, upid });
  }

  violation(text: string): void {
    this.node.violations.push(text);
  }

  result(): ReconcileRun {
    this.judge();
    const { node, reports, records } = this;
    return { violations: node.violations, traces: this.lives.map(({ trace }) => trace), reports, records, node };
  }

  judge(): void {
    const entries = entriesOf(this.records);
    for (const { intent, end } of entries) if (end === null) this.violation(`${intent.id} is open at the end`);
    for (const { upid } of this.node.tasks.filter(({ user }) => user === ourUser)) {
      const naming = entries.filter((entry) => entry.upid === upid);
      if (naming.length !== 1) this.violation(`${upid} is named by ${naming.length} entries of the journal`);
    }
    for (const { upid, user } of this.node.tasks.filter(({ user: whose }) => whose !== ourUser))
      if (entries.some((entry) => entry.upid === upid)) this.violation(`${upid} of ${user} was taken for ours`);
    const ends = [...this.node.guests.values()].map(
      ({ vmid, running, config }) => `${vmid} ${running ? 'running' : 'stopped'} cores=${config['cores'] ?? ''}`,
    );
    if (JSON.stringify(ends) !== JSON.stringify(this.scenario.ends))
      this.violation(`the guests end as ${ends.join(', ')}`);
    const twice = this.node.effects.toSorted();
    if (JSON.stringify(twice) !== JSON.stringify(this.scenario.effects))
      this.violation(`what took effect: ${twice.join(', ')}`);
    if (!this.node.isIdle()) this.violation('a task still runs');
  }
}
