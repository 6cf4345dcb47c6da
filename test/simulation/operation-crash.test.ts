import type { Operation } from 'felhom-agent/operations/record.ts';
import { isOpen } from 'felhom-agent/operations/record.ts';
import { describe, expect, it } from 'vitest';
import type { CrashPoint } from './doom.ts';
import type { Mishap } from './operation-node.ts';
import { commonFields, operations, operationWorld, signed, type World } from './operation-world.ts';

type Name = keyof typeof operations;
interface Scenario {
  name: Name;
  mishap: Mishap | null;
  outcome: Operation['outcome'];
}

const names: readonly Name[] = ['backup-delete', 'guest-destroy', 'snapshot-rollback', 'guest-restore'];
const scenarios: Scenario[] = [
  ...names.map((name): Scenario => ({ name, mishap: null, outcome: 'done' })),
  { name: 'backup-delete', mishap: 'answer-lost', outcome: 'done' },
  { name: 'guest-restore', mishap: 'answer-lost', outcome: 'done' },
  { name: 'guest-destroy', mishap: 'late', outcome: 'done' },
  { name: 'guest-restore', mishap: 'request-lost', outcome: 'interrupted' },
  { name: 'guest-destroy', mishap: 'refused', outcome: 'failed' },
  { name: 'snapshot-rollback', mishap: 'task-fails', outcome: 'failed' },
];

interface Played {
  world: World;
  /** What each process did, effect by effect. */
  traces: (readonly string[])[];
}

/** The envelope is applied, recovered from as often as it takes, applied again, recovered again. */
async function play({ name, mishap }: Scenario, points: readonly CrashPoint[]): Promise<Played> {
  const world = operationWorld();
  world.node.mishap = mishap;
  const envelope = signed({ ...operations[name], ...commonFields() });
  const traces: (readonly string[])[] = [];
  const first = world.process(points[0] ?? null);
  await first.apply(envelope);
  traces.push(first.life.trace);
  for (let pass = 1; pass < 8 && (pass <= points.length || world.record().operations.some(isOpen)); pass += 1) {
    const next = world.process(points[pass] ?? null);
    const asked = world.node.asked.length;
    await next.recover();
    if (world.node.asked.length > asked) world.node.violations.push('recovery asked PVE for something');
    traces.push(next.life.trace);
    await world.clock.pass(40_000);
  }
  const again = world.process(null);
  await again.apply(envelope);
  await world.clock.pass(40_000);
  await world.process(null).recover();
  return { world, traces };
}

/** What every run must hold, wherever it was cut. */
async function violations({ name, outcome }: Scenario, { world }: Played): Promise<string[]> {
  const { node, record, adopted } = world;
  const found = [...node.violations];
  const say = (holds: boolean, what: string): void => {
    if (!holds) found.push(what);
  };
  const [operation, ...more] = record().operations;
  say(operation !== undefined && more.length === 0, `${more.length + 1} operations are on record`);
  say(operation !== undefined && !isOpen(operation), 'it is still open');
  say(node.done.length <= 1, `it was done ${node.done.length} times`);
  const requests = node.asked.filter((kind) => kind !== 'safety-backup');
  say(requests.length <= 1, `it was asked for ${requests.length} times`);
  say(node.asked.length === new Set(node.asked).size, 'a backup was asked for twice');
  say(
    (operation?.outcome === 'done') === (node.done.length === 1),
    `${operation?.outcome}, and ${node.done.length} times done`,
  );
  say(operation?.outcome === outcome || operation?.outcome === 'interrupted', `it ended ${operation?.outcome}`);
  if (name === 'guest-restore' || name === 'snapshot-rollback')
    say(operation?.outcome !== 'done' || adopted.length > 0, 'the guest was not adopted');
  if (name === 'snapshot-rollback')
    say(operation?.outcome !== 'done' || node.state.guest?.running === true, 'the guest was not started');
  const before = JSON.stringify([record(), node.asked]);
  await world.process(null).recover();
  say(JSON.stringify([record(), node.asked]) === before, 'recovery twice is not recovery once');
  return found;
}

describe.each(scenarios)('$name, $mishap', (scenario) => {
  it(`ends ${scenario.outcome} when nothing crashes`, async () => {
    const played = await play(scenario, []);
    expect(await violations(scenario, played)).toEqual([]);
    expect(played.world.record().operations[0]?.outcome).toBe(scenario.outcome);
  });

  it('is never done twice, and ends, when a process dies at any effect, and the next at any of its recovery', async () => {
    const whole = await play(scenario, []);
    let schedules = 0;
    for (const first of crashPoints(whole.traces[0] ?? [])) {
      const once = await play(scenario, [first]);
      schedules += 1;
      expect({ at: [first], violations: await violations(scenario, once) }).toEqual({ at: [first], violations: [] });
      for (const second of crashPoints(once.traces[1] ?? [])) {
        const twice = await play(scenario, [first, second]);
        schedules += 1;
        expect({ at: [first, second], violations: await violations(scenario, twice) }).toEqual({
          at: [first, second],
          violations: [],
        });
      }
    }
    expect(schedules).toBeGreaterThan(40);
  });
});

/** Before and after each effect; of a long row of equal looks only the first and the last few. */
function crashPoints(trace: readonly string[]): CrashPoint[] {
  return trace.flatMap((effect, at): CrashPoint[] => {
    const polls = (from: number, to: number): boolean =>
      trace.slice(from, to).every((each) => each === 'pve.find' || each === 'store.read');
    if (/find|read/.test(effect) && at > 4 && polls(at - 4, at + 4)) return [];
    return [
      { effect: at, when: 'before' },
      { effect: at, when: 'after' },
    ];
  });
}
