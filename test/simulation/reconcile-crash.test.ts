import { describe, expect, it } from 'vitest';
import type { CrashPoint } from './doom.ts';
import { reconcileScenarios, rivalScenarios } from './reconcile-scenarios.ts';
import { playReconcile } from './reconcile-world.ts';

const full = process.env['FELHOM_SIMULATION'] === 'full';
/** More effects than the first life of any scenario has: it dies at each of them. */
const everyOne = 200;

/** About `most` effects of a life, and others of it for another `turn`: over many lives each has its own. */
function crashPoints(length: number, most: number, turn = 0): CrashPoint[] {
  const stride = full ? 1 : Math.max(1, Math.ceil(length / most));
  const points: CrashPoint[] = [];
  for (let effect = turn % stride; effect < length; effect += stride)
    points.push({ effect, when: 'before' }, { effect, when: 'after' });
  return points;
}

describe.each(reconcileScenarios)('$name', (scenario) => {
  it('ends as declared when nothing crashes, each thing done once', async () => {
    expect((await playReconcile(scenario, [])).violations).toEqual([]);
  });

  it('ends as declared, each thing done once, when the agent dies at any effect, and again in the recovery after it', async () => {
    const whole = await playReconcile(scenario, []);
    const effects = whole.traces[0]?.length ?? 0;
    expect(effects).toBeLessThan(everyOne);
    for (const first of crashPoints(effects, everyOne)) {
      const once = await playReconcile(scenario, [first]);
      expect({ at: [first], violations: once.violations }).toEqual({ at: [first], violations: [] });
      for (const second of crashPoints(once.traces[1]?.length ?? 0, 4, first.effect)) {
        const twice = await playReconcile(scenario, [first, second]);
        expect({ at: [first, second], violations: twice.violations }).toEqual({ at: [first, second], violations: [] });
      }
    }
  });
});

describe.each(rivalScenarios)('$name', (scenario) => {
  it('leaves their task theirs, and starts nothing beside it, whenever the agent dies', async () => {
    const whole = await playReconcile(scenario, []);
    expect(whole.violations).toEqual([]);
    for (const first of crashPoints(whole.traces[0]?.length ?? 0, everyOne)) {
      const once = await playReconcile(scenario, [first]);
      expect({ at: [first], violations: once.violations }).toEqual({ at: [first], violations: [] });
    }
  });
});
