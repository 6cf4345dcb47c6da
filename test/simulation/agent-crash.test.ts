import { describe, expect, it } from 'vitest';
import { playAgent } from './agent-play.ts';
import { agentScenarios } from './agent-scenarios.ts';
import { sweepAgent } from './agent-sweep.ts';

/*
 * The agent dies at every effect of its first life, and again at every effect of the life that follows. A world that
 * goes on exactly as one that was played before is played once.
 */

let schedules = 0;
let shared = 0;

describe.each(agentScenarios)('$name', (scenario) => {
  it('ends as it should when nothing crashes', async () => {
    const run = await playAgent(scenario, []);
    expect(run.violations).toEqual([]);
    const [job] = run.records.flatMap((record) => (record.kind === 'opened' ? [record.job] : []));
    const last = run.records.findLast((record) => record.kind === 'changed' && record.set.phase !== undefined);
    expect(job).toBeDefined();
    expect(last?.kind === 'changed' ? last.set.phase : null).toBe(scenario.ends);
    if (scenario.grade !== undefined)
      expect(run.node.archives.map((each) => each.notes)).toMatchObject([
        expect.stringContaining(` ${scenario.grade} `),
      ]);
  });

  it('holds its promises when the agent dies at any effect, and again at any effect of what follows', async () => {
    const { broken, played, met } = await sweepAgent(scenario, { deaths: 2 });
    schedules += played;
    shared += met;
    expect(broken).toEqual([]);
  });
});

describe('the simulation of the agent', () => {
  it('has run at least 10,000 schedules', () => {
    process.stdout.write(`${schedules} schedules of the agent, ${shared} of them met a world played before\n`);
    expect(schedules).toBeGreaterThanOrEqual(10_000);
  });
});
