import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { judge } from './agent-judge.ts';
import type { AgentScenario } from './agent-scenario.ts';
import { AgentWorld } from './agent-world.ts';
import { crashPoints } from './crash-points.ts';
import type { CrashPoint } from './doom.ts';
import { JointGuest } from './joint-guest.ts';
import { virtualClock } from './virtual-clock.ts';

/*
 * The real controller and the real agent in one world: only the engine, PVE and the wire are made up. Either side dies
 * at each of its effects. Both die at every n-th pair of them; FELHOM_SIMULATION=full takes every pair.
 */

const every = process.env['FELHOM_SIMULATION'] === 'full' ? 1 : 7;

interface JointScenario extends AgentScenario {
  losesAnswers?: boolean;
}

const scenarios: readonly JointScenario[] = [
  { name: 'hook gate', gate: 'hook', ends: 'done', grade: 'app-consistent' },
  { name: 'log gate', gate: 'log', ends: 'done', grade: 'app-consistent' },
  {
    name: 'log gate, the answer of PVE is lost',
    gate: 'log',
    node: { losesAnswer: 'after' },
    ends: 'done',
    grade: 'app-consistent',
  },
  {
    name: 'hook gate, the first answer to each call of the controller is lost',
    gate: 'hook',
    losesAnswers: true,
    ends: 'done',
    grade: 'app-consistent',
  },
  { name: 'hook gate, the snapshot fails', gate: 'hook', node: { fails: 'snapshot' }, ends: 'failed' },
];

let schedules = 0;

// Errors are made by the thousand and read by nobody: where they came from is not worth a quarter of the time.
const { stackTraceLimit } = Error;
beforeAll(() => {
  Error.stackTraceLimit = 0;
});
afterAll(() => {
  Error.stackTraceLimit = stackTraceLimit;
});

interface Deaths {
  controller: CrashPoint | null;
  agent: CrashPoint | null;
  seen?: Set<string>;
}

async function play(scenario: JointScenario, { controller, agent, seen }: Deaths) {
  schedules += 1;
  const clock = virtualClock();
  const guests: JointGuest[] = [];
  const world = new AgentWorld({
    scenario,
    clock,
    crashes: agent === null ? [] : [agent],
    seen,
    guest: (own) => {
      const guest = new JointGuest(own, { crash: controller, losesAnswers: scenario.losesAnswers === true });
      guests.push(guest);
      return guest;
    },
  });
  const end = await clock.run(Promise.race([world.play(), world.met]));
  return {
    violations: end === 'met' ? world.node.violations : judge(world),
    agent: world.lives[0]?.trace ?? [],
    controller: guests[0]?.trace ?? [],
    notes: world.node.archives.map(({ notes }) => notes),
    jobs: world.jobs(),
  };
}

describe.each(scenarios)('$name', (scenario) => {
  it('ends as it should when nobody dies', async () => {
    const { violations, jobs, notes } = await play(scenario, { controller: null, agent: null });
    expect(violations).toEqual([]);
    expect(jobs.map(({ phase }) => phase)).toEqual([scenario.ends]);
    expect(notes).toMatchObject(scenario.grade === undefined ? [] : [expect.stringContaining(` ${scenario.grade} `)]);
  });

  it('holds the promises of both sides, whichever dies at any of its effects', async () => {
    const broken: unknown[] = [];
    const note = (deaths: Deaths, violations: readonly string[]): void => {
      if (violations.length > 0) broken.push({ controller: deaths.controller, agent: deaths.agent, violations });
    };
    const whole = await play(scenario, { controller: null, agent: null });
    let count = 0;
    for (const controller of [null, ...crashPoints(whole.controller)]) {
      const seen = new Set<string>();
      const alone = await play(scenario, { controller, agent: null });
      note({ controller, agent: null }, alone.violations);
      for (const agent of crashPoints(alone.agent)) {
        count += 1;
        if (broken.length > 3 || (controller !== null && count % every !== 0)) continue;
        note({ controller, agent }, (await play(scenario, { controller, agent, seen })).violations);
      }
    }
    expect(broken).toEqual([]);
  });
});

describe('the simulation of both', () => {
  it('has run at least 1,000 schedules', () => {
    process.stdout.write(`${schedules} schedules of controller and agent together\n`);
    expect(schedules).toBeGreaterThanOrEqual(1_000);
  });
});
