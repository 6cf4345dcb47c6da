import { Failure } from '@felhom/kernel/failure.ts';
import type { ContainerState } from '../engine/engine.ts';
import type { Expected, LadderOptions, LadderPorts } from './ladder.ts';

/** One rung: null: there is nothing to climb. */
export type Climb = (
  ports: LadderPorts,
  options: LadderOptions,
) => Promise<{ failed: string | null; detail: string } | null>;

/** Every service has what it is to have: a container that runs, of the right image, or a task that is done. */
export async function climbContainers(ports: LadderPorts, options: LadderOptions): ReturnType<Climb> {
  const failed = await until(ports, options, options.bounds.healthMarginMs, (states) => {
    const missing = options.expected.flatMap((each) => {
      const why = notThere(each, states, options.expected);
      return why === null ? [] : [why];
    });
    // What has ended with an error is not waited for, unless a restart policy is at it.
    const isOver = options.expected.some(({ service }) =>
      states.some((state) => state.service === service && hasFailed(state, options.expected)),
    );
    return { done: missing.length === 0, over: isOver, why: missing.join('; ') };
  });
  return { failed, detail: options.expected.map(({ service }) => service).join(', ') };
}

function notThere(
  { service, imageId }: Expected,
  states: readonly ContainerState[],
  all: readonly Expected[],
): string | null {
  const own = states.filter((state) => state.service === service);
  if (own.length === 0) return `${service} has no container`;
  const wrong = own.find((state) => imageId !== null && state.imageId !== imageId);
  if (wrong !== undefined) return `${wrong.name} has another image than ${imageId?.slice(0, 19)}`;
  const down = own.find((state) => !isUp(state, all));
  return down === undefined ? null : `${down.name} is ${words(down)}`;
}

/** As it is meant to be: it runs, or it is a task that has succeeded, or a crash loop that was one before. */
function isUp(state: ContainerState, expected: readonly Expected[]): boolean {
  const own = expected.find(({ service }) => service === state.service);
  if (state.status === 'running') return true;
  if (state.status === 'restarting') return own?.healthy === false;
  return state.status === 'exited' && state.exitCode === 0 && own?.task === true;
}

/** Nobody will start it again. */
function hasFailed(state: ContainerState, expected: readonly Expected[]): boolean {
  return (state.status === 'exited' && !isUp(state, expected)) || state.status === 'dead';
}

function words({ status, exitCode }: ContainerState): string {
  return status === 'exited' ? `not running (it ended with exit code ${exitCode})` : status;
}

export async function climbHealth(ports: LadderPorts, options: LadderOptions): ReturnType<Climb> {
  const { bounds } = options;
  const first = await look(ports, options);
  const checked = ours(first ?? [], options).filter(({ health }) => health.status !== 'none');
  if (first !== null && checked.length === 0) return null;
  const limitMs = Math.max(0, ...checked.map(({ health }) => health.startLimitMs)) + bounds.healthMarginMs;
  const failed = await until(ports, options, limitMs, (states) => {
    const own = ours(states, options);
    const sick = own.filter(
      ({ health, status }) => health.status !== 'none' && health.status !== 'healthy' && status === 'running',
    );
    const down = own.filter((state) => !isUp(state, options.expected));
    // `unhealthy` is Compose's own word, said after all retries: nothing is gained by waiting on.
    const isOver =
      down.some((state) => hasFailed(state, options.expected)) ||
      sick.some(({ health }) => health.status === 'unhealthy');
    const why = [
      ...down.map((each) => `${each.name} is ${words(each)}`),
      ...sick.map((each) => `${each.name} is ${each.health.status}`),
    ];
    return { done: why.length === 0, over: isOver, why: why.join('; ') };
  });
  return { failed, detail: checked.map(({ name }) => name).join(', ') };
}

export async function climbProbe(
  { clock, probe }: LadderPorts,
  { probe: asked, bounds, stop }: LadderOptions,
): ReturnType<Climb> {
  if (asked === null) return null;
  const endMs = clock.monotonicMs() + bounds.healthMarginMs;
  const where = asked.kind === 'http' ? asked.url : `${asked.host}:${asked.port}`;
  for (;;) {
    const why = await probe.ask(asked, bounds.probeMs);
    if (why === null) return { failed: null, detail: `${where} answers` };
    if (clock.monotonicMs() >= endMs || stop.aborted) return { failed: `${where}: ${why}`, detail: '' };
    await clock.sleep(bounds.lookEveryMs, stop);
  }
}

/** Nothing restarts, ends or falls ill for a while. */
export async function climbStable(ports: LadderPorts, options: LadderOptions): ReturnType<Climb> {
  const { clock } = ports;
  const { bounds, stop } = options;
  const first = await lookAgain(ports, options);
  if (first === null) return { failed: 'docker does not answer', detail: '' };
  const began = new Map(ours(first, options).map((state) => [state.id, state]));
  const longestMs = Math.max(bounds.stableMs, ...[...began.values()].map(({ health }) => health.startPeriodMs));
  const endMs = clock.monotonicMs() + longestMs;
  for (;;) {
    const states = await lookAgain(ports, options);
    if (states === null) return { failed: 'docker does not answer', detail: '' };
    const why = unsteady(began, ours(states, options), options.expected);
    if (why !== null) return { failed: why, detail: '' };
    if (stop.aborted) return { failed: 'asked to end', detail: '' };
    const leftMs = endMs - clock.monotonicMs();
    if (leftMs <= 0) return { failed: null, detail: `steady for ${longestMs / 1_000} s` };
    await clock.sleep(Math.min(leftMs, bounds.lookEveryMs), stop);
  }
}

function unsteady(
  began: ReadonlyMap<string, ContainerState>,
  now: readonly ContainerState[],
  expected: readonly Expected[],
): string | null {
  for (const [id, before] of began) {
    const state = now.find((each) => each.id === id);
    if (state === undefined) return `${before.name} is gone`;
    if (!isUp(state, expected)) return `${state.name} is ${words(state)}`;
    if (state.status === 'exited') continue;
    if (state.startedAt !== before.startedAt || state.restartCount > before.restartCount)
      return `${state.name} has restarted`;
    if (state.health.status === 'unhealthy') return `${state.name} is unhealthy`;
  }
  return null;
}

export async function climbDisk({ files }: LadderPorts, { folders, bounds }: LadderOptions): ReturnType<Climb> {
  const bad = await files.unwritable(folders, bounds.minFreeBytes);
  return {
    failed: bad.length === 0 ? null : `nothing can be written in ${bad.join(', ')}, or no room is left`,
    detail: 'the data can be written',
  };
}

/** Containers of the services that are to be healthy. */
function ours(states: readonly ContainerState[], { expected }: LadderOptions): ContainerState[] {
  const wanted = new Set(expected.filter(({ healthy }) => healthy).map(({ service }) => service));
  return states.filter(({ service }) => service !== null && wanted.has(service));
}

async function until(
  ports: LadderPorts,
  options: LadderOptions,
  limitMs: number,
  judge: (states: readonly ContainerState[]) => { done: boolean; over: boolean; why: string },
): Promise<string | null> {
  const { clock } = ports;
  const endMs = clock.monotonicMs() + limitMs;
  for (;;) {
    const states = await look(ports, options);
    const seen = states === null ? { done: false, over: false, why: 'docker does not answer' } : judge(states);
    if (seen.done) return null;
    if (seen.over || clock.monotonicMs() >= endMs || options.stop.aborted) return seen.why;
    await clock.sleep(options.bounds.lookEveryMs, options.stop);
  }
}

/** The stack's containers; null: docker does not answer. */
async function look({ engine }: LadderPorts, { stack }: LadderOptions): Promise<ContainerState[] | null> {
  try {
    return (await engine.list()).filter(({ project, oneoff }) => project === stack && !oneoff);
  } catch (error) {
    if (error instanceof Failure && error.code === 'docker_unreachable') return null;
    throw error;
  }
}

/** As `look`, and asks once more until the margin is over. */
async function lookAgain(ports: LadderPorts, options: LadderOptions): Promise<ContainerState[] | null> {
  const endMs = ports.clock.monotonicMs() + options.bounds.healthMarginMs;
  for (;;) {
    const states = await look(ports, options);
    if (states !== null || ports.clock.monotonicMs() >= endMs || options.stop.aborted) return states;
    await ports.clock.sleep(options.bounds.lookEveryMs, options.stop);
  }
}
