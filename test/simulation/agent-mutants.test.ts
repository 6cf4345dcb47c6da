import { expect, it } from 'vitest';
import { mutants } from './agent-mutants.ts';
import { agentScenarios } from './agent-scenarios.ts';
import { sweepAgent } from './agent-sweep.ts';

/* A simulation that never goes red proves nothing: each of these wrong agents has to be caught, and for its own fault. */

it.each(mutants)('catches an agent that $name', async ({ scenario: name, deaths, mutate, breaks }) => {
  const scenario = agentScenarios.find((each) => each.name === name);
  if (scenario === undefined) throw new Error(`no scenario ${name}`);
  const right = await sweepAgent(scenario, { deaths: 0 });
  expect(right.broken).toEqual([]);
  const wrong = await sweepAgent(scenario, { deaths, mutate, enough: 1_000 });
  expect(wrong.broken.flatMap(({ violations }) => violations).join('\n')).toMatch(breaks);
});
