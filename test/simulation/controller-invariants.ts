import { expected } from './controller-scenarios.ts';
import { simulateRecover, type World } from './controller-world.ts';

/** Longer than any stop may stay in flight: what is up now stays up. */
const settledMs = 120_000;

export interface Before {
  starts: ReadonlyMap<string, number>;
}

export function remember(world: World): Before {
  const names = [...expected.ran, ...expected.loops, ...expected.kept, ...expected.off];
  return {
    starts: new Map(
      names.filter((name) => world.fake.state(name) !== null).map((name) => [name, world.fake.starts(name)]),
    ),
  };
}

/** Everything that does not hold of a world in which all is over, in words. Lets time pass, and recovers once more. */
export async function brokenInvariants(world: World, before: Before): Promise<string[]> {
  await world.clock.pass(settledMs);
  const broken = [...world.violations, ...brokenNow(world, before), ...brokenGrades(world)];
  const starts = remember(world).starts;
  const again = await simulateRecover(world);
  if (again.end?.outcome !== 'nothing') broken.push(`a second recovery found something: ${JSON.stringify(again.end)}`);
  for (const [name, count] of remember(world).starts) {
    if (name !== 'loop' && count !== starts.get(name)) broken.push(`a second recovery started ${name}`);
  }
  return broken;
}

/** What does not hold of it right now, in words: its containers, its marker, its lock, its history. */
export function brokenNow(world: World, { starts }: Before): string[] {
  const broken: string[] = [];
  for (const name of starts.keys()) {
    const status = world.fake.state(name)?.status ?? 'gone';
    const isOff = expected.off.some((each) => each === name);
    const loops = expected.loops.some((each) => each === name);
    if (isOff && status !== 'exited') broken.push(`${name} was off and is ${status}`);
    if (isOff && world.fake.starts(name) !== starts.get(name)) broken.push(`${name} was off and has run`);
    if (!isOff && status !== 'running' && !(loops && status === 'restarting'))
      broken.push(`${name} ran before and is ${status}`);
  }
  if (!world.markers.isEmpty()) broken.push('a marker remains');
  if (world.lock.holder !== null) broken.push('the lock is still held');
  const open = [...world.history.values()].filter(({ result }) => result === null);
  if (open.length > 0) broken.push('a run is still open in the history');
  return broken;
}

/** A backup may only be called app-consistent if nothing ran at the snapshot but what configuration keeps. */
function brokenGrades({ grades, runningAtSnapshot }: World): string[] {
  if (!grades.includes('app-consistent')) return [];
  const wrong = runningAtSnapshot?.filter((name) => !expected.kept.some((each) => each === name));
  if (wrong === undefined) return ['app-consistent without a snapshot'];
  return wrong.length === 0 ? [] : [`app-consistent, but at the snapshot ran: ${wrong.join(', ')}`];
}
