import type { Mutation } from './agent-life.ts';
import { playAgent } from './agent-play.ts';
import type { AgentScenario } from './agent-scenario.ts';
import { crashPoints } from './crash-points.ts';
import type { CrashPoint } from './doom.ts';

export interface SweepEnd {
  /** What was broken, and by which deaths; the first few. */
  broken: { at: readonly (CrashPoint | null)[]; violations: readonly string[] }[];
  played: number;
  /** How many of them met a world that had been played before. */
  met: number;
}

export interface SweepOptions {
  /** How often the agent may die. */
  deaths: number;
  mutate?: Mutation;
  /** With so many it is broken enough. Default: 3. */
  enough?: number;
}

/**
 * Plays a scenario with the agent dying at every effect of its first life, then at every effect of the next one. A
 * world that goes on exactly as one that was played before is played once, and so is all that may follow from it.
 */
export async function sweepAgent(scenario: AgentScenario, options: SweepOptions): Promise<SweepEnd> {
  const { deaths, enough = 3, ...play } = options;
  const seen = new Set<string>();
  const end: SweepEnd = { broken: [], played: 0, met: 0 };
  const from = async (at: readonly (CrashPoint | null)[], left: number): Promise<void> => {
    const { violations, met, traces } = await playAgent(scenario, at, { seen, ...play });
    end.played += 1;
    if (violations.length > 0) end.broken.push({ at, violations });
    if (met) end.met += 1;
    if (met || left === 0) return;
    for (const point of crashPoints(traces[at.length] ?? [])) {
      if (end.broken.length < enough) await from([...at, point], left - 1);
    }
  };
  await from([], deaths);
  // A host that is restarted ends the first life by itself.
  if (scenario.hostRestartsAtMs !== undefined && deaths > 0) await from([null], deaths - 1);
  return end;
}
