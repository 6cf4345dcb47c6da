import { describe, expect, it } from 'vitest';
import { agentScenarios } from './agent-scenarios.ts';
import { playAgent } from './agent-world.ts';
import type { CrashPoint } from './doom.ts';

/** Every crash point of a trace; a long run of polls is crashed into at its beginning, its end, and now and then. */
function crashPoints(length: number, most: number): CrashPoint[] {
  const stride = Math.max(1, Math.ceil(length / most));
  const points: CrashPoint[] = [];
  for (let effect = 0; effect < length; effect += effect < most / 2 ? 1 : stride) {
    points.push({ effect, when: 'before' }, { effect, when: 'after' });
  }
  return points;
}

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

  it('holds its promises when the agent dies at an effect, and again in the recovery that follows', async () => {
    const whole = await playAgent(scenario, []);
    let schedules = 0;
    for (const first of crashPoints(whole.traces[0]?.length ?? 0, 60)) {
      const once = await playAgent(scenario, [first]);
      schedules += 1;
      expect({ at: [first], violations: once.violations }).toEqual({ at: [first], violations: [] });
      for (const second of crashPoints(once.traces[1]?.length ?? 0, 6)) {
        const twice = await playAgent(scenario, [first, second]);
        schedules += 1;
        expect({ at: [first, second], violations: twice.violations }).toEqual({ at: [first, second], violations: [] });
      }
    }
    expect(schedules).toBeGreaterThan(50);
  });
});
