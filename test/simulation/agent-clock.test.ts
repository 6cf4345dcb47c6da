import { PveProblem } from 'felhom-agent/backup/ports.ts';
import type { AgentAppOptions } from 'felhom-agent/serve/app.ts';
import { expect, it } from 'vitest';
import { PlainGuest } from './agent-controller.ts';
import { judge } from './agent-judge.ts';
import type { AgentScenario } from './agent-scenario.ts';
import { AgentWorld } from './agent-world.ts';
import { type VirtualClock, virtualClock } from './virtual-clock.ts';

/* What a wall clock that is set, an answer that is lost and a start that takes long must not bring about. */

const hour = 3_600_000;

/** Plays a backup to its end, with `change` between the agent and its node. */
async function play(
  scenario: AgentScenario,
  change: (options: AgentAppOptions, clock: VirtualClock) => Partial<AgentAppOptions['pve']>,
): Promise<AgentWorld> {
  const clock = virtualClock();
  const mutate = (options: AgentAppOptions): AgentAppOptions => ({
    ...options,
    pve: { ...options.pve, ...change(options, clock) },
  });
  const world = new AgentWorld({ scenario, clock, crashes: [], mutate, guest: (own) => new PlainGuest(own) });
  await clock.run(world.play());
  return world;
}

const phases = (world: AgentWorld): readonly string[] => world.jobs().map(({ phase }) => phase);

it.each([1, -1])(
  'a clock that is set while an answer is lost (%d h) does not hide the backup that begins late',
  async (hours) => {
    const world = await play({ name: 'lost', gate: 'hook', ends: 'done' }, ({ pve }, clock) => ({
      startBackup: async (request) => {
        clock.jump(hours * hour);
        clock.after(20_000, () => void pve.startBackup(request));
        throw new PveProblem('unknown', 'the connection broke');
      },
    }));
    expect(judge(world)).toEqual([]);
    expect(phases(world)).toEqual(['done']);
  },
);

it("a clock that is set back does not keep an operator's request waiting for a controller", async () => {
  const scenario = {
    gate: 'hook',
    asks: 'operator',
    controller: 'never calls',
    bounds: { operator_claim: '3s' },
  } as const;
  const world = await play({ ...scenario, name: 'set back', ends: 'done' }, ({ pve }, clock) => ({
    guests: async () => {
      clock.after(1_000, () => clock.jump(-hour));
      return await pve.guests();
    },
  }));
  expect(judge(world)).toEqual([]);
  expect(phases(world)).toEqual(['done']);
  expect(world.clock.monotonicMs()).toBeLessThan(60_000);
});

it("a clock that is set ahead does not end a job of PVE's own whose task is not found at once", async () => {
  const world = await play({ name: 'own', gate: 'hook', asks: 'pve', ends: 'done' }, ({ pve }, clock) => {
    let isFirst = true;
    return {
      tasks: async (query) => {
        if (isFirst) clock.jump(hour);
        isFirst = false;
        if (clock.monotonicMs() < 2_000) throw new PveProblem('unknown', 'no answer');
        return await pve.tasks(query);
      },
    };
  });
  expect(judge(world)).toEqual([]);
  expect(phases(world)).toEqual(['done']);
});

it('a guest that vzdump left down is asked to start once, also when the answer is lost', async () => {
  const node = { mode: 'stop', leavesDown: true, startMs: 5_000 } as const;
  const world = await play(
    { name: 'left down', gate: 'hook', node, policy: { mode: 'stop' }, ends: 'done' },
    ({ pve }) => ({
      startGuest: async (guest) => {
        await pve.startGuest(guest);
        throw new PveProblem('unknown', 'the connection broke');
      },
    }),
  );
  expect(judge(world)).toEqual([]);
  expect([...world.alerts.keys()]).toEqual([]);
});
