import type { JobRecord } from 'felhom-agent/backup/job.ts';
import { PlainGuest } from './agent-controller.ts';
import { judge } from './agent-judge.ts';
import type { Mutation } from './agent-life.ts';
import type { SimulatedNode } from './agent-node.ts';
import type { AgentScenario } from './agent-scenario.ts';
import { AgentWorld } from './agent-world.ts';
import type { CrashPoint } from './doom.ts';
import { virtualClock } from './virtual-clock.ts';

export interface AgentRun {
  violations: readonly string[];
  /** It went on as a world that had been played before, and was left there. */
  met: boolean;
  records: readonly JobRecord[];
  node: SimulatedNode;
  traces: readonly (readonly string[])[];
}

export interface PlayOptions {
  /** Worlds that were played to their end already. */
  seen?: Set<string>;
  mutate?: Mutation;
}

/** Plays a scenario to its end; the n-th agent ends at the n-th crash point, the one after the last lives. */
export async function playAgent(
  scenario: AgentScenario,
  crashes: readonly (CrashPoint | null)[],
  options: PlayOptions = {},
): Promise<AgentRun> {
  // Errors are made by the thousand and read by nobody: where they came from is not worth a quarter of the time.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return await play(scenario, crashes, options);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

async function play(
  scenario: AgentScenario,
  crashes: readonly (CrashPoint | null)[],
  { seen, mutate }: PlayOptions,
): Promise<AgentRun> {
  const clock = virtualClock();
  const world = new AgentWorld({ scenario, clock, crashes, seen, mutate, guest: (own) => new PlainGuest(own) });
  const end = await clock.run(Promise.race([world.play(), world.met]));
  const met = end === 'met';
  return {
    violations: met ? world.node.violations : judge(world),
    met,
    records: world.records,
    node: world.node,
    traces: world.lives.map((life) => life.trace),
  };
}
