import { upgradeMachine } from 'felhom-controller/upgrade/phases.ts';
import type { FakeService } from './upgrade-engine.ts';
import { simulateUpgradeRecovery } from './upgrade-recovery.ts';
import { composePath, stack, type UpgradeScenario, type UpgradeWorld } from './upgrade-world.ts';

/** Longer than anything may stay in flight. */
const settledMs = 120_000;

/** Everything that does not hold once all is over, in words. Lets time pass, and recovers once more. */
export async function brokenUpgrade(
  world: UpgradeWorld,
  scenario: UpgradeScenario,
  undisturbed: boolean,
): Promise<string[]> {
  await world.clock.pass(settledMs);
  const is = whichVersion(world, scenario);
  const broken = [...world.violations];
  if (is === null) broken.push(`a mix: ${runningImages(world)}`);
  if (undisturbed && is !== scenario.becomes) broken.push(`it became ${is ?? 'a mix'} instead of ${scenario.becomes}`);
  if (is === 'new' && scenario.becomes === 'old') broken.push('a version that is not healthy was kept');
  if (is !== null) broken.push(...wrongWith(world, scenario, is));
  if (!world.debts.isEmpty()) broken.push('a debt remains');
  if (world.halves > 0) broken.push('what a killed write left is taken for a debt');
  if (world.reserved) broken.push('room is still set aside');
  if (world.lock.holder !== null) broken.push('the lock is still held');
  broken.push(...wrongRecord(world, is));
  const starts = startsOf(world);
  const again = await simulateUpgradeRecovery(world);
  if (again.end?.outcome !== 'nothing') broken.push(`a second recovery found something: ${again.end?.outcome}`);
  if (startsOf(world) !== starts) broken.push('a second recovery started something');
  return broken;
}

function imageIdOf(world: UpgradeWorld, scenario: UpgradeScenario, side: 'before' | 'after', service: string): string {
  const ref = scenario[side][service]?.image ?? '';
  // By the scenario, not by the names as they are now: those may have moved.
  const id = scenario.images[ref]?.id ?? '';
  return side === 'after' ? (world.tags.get(ref) ?? id) : id;
}

function whichVersion(world: UpgradeWorld, scenario: UpgradeScenario): 'new' | 'old' | null {
  const fits = (side: 'before' | 'after'): boolean =>
    Object.entries(scenario[side])
      .filter(([name]) => isOn(scenario, name))
      .every(([name, service]) =>
        numbersOf(service).every(
          (number) =>
            world.fake.state(`${stack}-${name}-${number}`)?.imageId === imageIdOf(world, scenario, side, name),
        ),
      ) &&
    Object.keys(scenario[side === 'before' ? 'after' : 'before'])
      .filter((name) => scenario[side][name] === undefined)
      .every((name) => world.fake.state(`${stack}-${name}-1`) === null);
  if (fits('after')) return 'new';
  return fits('before') ? 'old' : null;
}

function numbersOf({ replicas = 1 }: FakeService): number[] {
  return Array.from({ length: replicas }, (_, index) => index + 1);
}

function isOn({ off = [] }: UpgradeScenario, name: string): boolean {
  return !off.includes(name);
}

function wrongWith(world: UpgradeWorld, scenario: UpgradeScenario, is: 'new' | 'old'): string[] {
  const broken: string[] = [];
  const side = is === 'new' ? scenario.after : scenario.before;
  for (const [name, service] of Object.entries(side)) {
    broken.push(...wrongContainers(world, scenario, name, service));
    const { volume } = service;
    const volumes =
      service.anonymous === true ? ownVolumes(world, name, service) : volume === undefined ? [] : [volume];
    if (volumes.toSorted().join() !== volumes.join()) broken.push(`the replicas of ${name} have each other's data`);
    for (const each of volumes) broken.push(...wrongData(world, scenario, is, name, each));
  }
  const file = world.files.get(composePath);
  if (
    is === 'old' &&
    world.alerts.length > 0 &&
    scenario.remembered !== false &&
    file !== JSON.stringify({ services: scenario.before })
  )
    broken.push('the Compose file of the old version was not put back');
  return broken;
}

function wrongContainers(world: UpgradeWorld, scenario: UpgradeScenario, name: string, service: FakeService): string[] {
  const broken: string[] = [];
  const [mayRun, isTask] = [isOn(scenario, name), service.image === 'task'];
  for (const number of numbersOf(service)) {
    const state = world.fake.state(`${stack}-${name}-${number}`);
    if (!mayRun && state === null) broken.push(`${name} was off and is gone`);
    if (!mayRun && state?.status === 'running') broken.push(`${name} was off and runs`);
    if (state !== null && state.restartPolicy !== (service.restart ?? 'no'))
      broken.push(`${name} has the restart policy ${state.restartPolicy}`);
    if (mayRun && !isTask && state?.status !== 'running') broken.push(`${name} is ${state?.status ?? 'gone'}`);
  }
  return broken;
}

/** What its containers have mounted, in their order: volumes are called by when they were made. */
function ownVolumes(world: UpgradeWorld, name: string, service: FakeService): string[] {
  return numbersOf(service).map(
    (number) => world.fake.state(`${stack}-${name}-${number}`)?.mounts[0]?.volume ?? `of ${name} ${number}`,
  );
}

function wrongData(
  world: UpgradeWorld,
  scenario: UpgradeScenario,
  is: 'new' | 'old',
  service: string,
  volume: string,
): string[] {
  const found = world.volumes.get(volume);
  const id = imageIdOf(world, scenario, is === 'new' ? 'after' : 'before', service);
  const schema = world.images.get(id)?.schema;
  if (found === undefined) return [`the data of ${volume} is gone`];
  const broken: string[] = [];
  if (found.rows.join(' ') !== 'written before') broken.push(`rows of ${volume} are lost`);
  if (found.schema !== schema)
    broken.push(`the data of ${volume} has schema ${found.schema}, and its version ${schema}`);
  return broken;
}

/** What the machine says fits to what is, and its history is a legal walk. */
function wrongRecord(world: UpgradeWorld, is: 'new' | 'old' | null): string[] {
  if (world.machineText === null) return [];
  const now: { phase: string; history: { phase: string }[] } = JSON.parse(world.machineText);
  const broken: string[] = [];
  const before = ['idle', 'checking', 'staged'].includes(now.phase);
  if (!upgradeMachine.isLegalWalk(now.history.map(({ phase }) => phase))) broken.push('its history is no legal walk');
  if (is === 'new' && now.phase !== 'success') broken.push(`the new version runs, and its phase is ${now.phase}`);
  if (is === 'old' && !before && now.phase !== 'failed' && now.phase !== 'rolled_back')
    broken.push(`the old version runs, and its phase is ${now.phase}`);
  if (now.phase === 'rolled_back' && world.alerts.length !== 1)
    broken.push(`${world.alerts.length} alerts for one rollback`);
  if (now.phase === 'rolled_back' && world.knownBad.length === 0) broken.push('what was rolled back is not held back');
  return broken;
}

function runningImages(world: UpgradeWorld): string {
  return world.fake
    .running()
    .map((name) => `${name}=${world.fake.state(name)?.imageId ?? ''}`)
    .join(' ');
}

function startsOf(world: UpgradeWorld): string {
  return world.fake
    .running()
    .map((name) => `${name} ${world.fake.starts(name)}`)
    .join(' ');
}
