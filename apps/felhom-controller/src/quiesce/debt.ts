import type { ContainerState } from '../engine/engine.ts';
import type { Debt } from './marker.ts';

/** What this process itself knows of a debt's stop and start. After a crash: nothing, and then anything may be in flight. */
export interface DebtKnowledge {
  /** No stop was ever sent by this run, and this process is the run: it may simply run on. */
  untouched: boolean;
  /** A start of ours was answered since. */
  startedByUs: boolean;
}

export type DebtVerdict =
  | { kind: 'paid'; how: 'running' | 'untouched' | 'ended' | 'crash_loop' }
  | { kind: 'start' }
  /** Runs, but a stop of ours may still be in flight, and a start now would be a no-op: end it first. */
  | { kind: 'stop_then_start' }
  | { kind: 'replace' }
  | { kind: 'wait'; why: string };

/**
 * The payment rule. Paid is: running with a *different* start than the one recorded (the same one
 * proves nothing: `docker start` of a container that is still shutting down succeeds, and then it
 * goes down for good); or ran again and ended with 0 under a restart policy that leaves it at that.
 * A container that its restart policy starts, in a crash loop or once, changes its start by itself:
 * there only a start of ours counts.
 */
export function judgeDebt(debt: Debt, state: ContainerState | null, known: DebtKnowledge): DebtVerdict {
  if (state === null) return { kind: 'replace' };
  const isReplacement = state.id !== debt.id;
  const hasNewStart = isReplacement || state.startedAt !== debt.started_at;
  const looped = debt.was === 'restarting';
  // A start resets the count (measured): above 0 it was a restart policy, and our stop may still be in flight.
  const restartedItself = looped || state.restartCount > 0;
  switch (state.status) {
    case 'running':
      if (hasNewStart && (known.startedByUs || isReplacement || !restartedItself))
        return { kind: 'paid', how: looped ? 'crash_loop' : 'running' };
      return known.untouched ? { kind: 'paid', how: 'untouched' } : { kind: 'stop_then_start' };
    case 'restarting':
      if (known.untouched && looped) return { kind: 'paid', how: 'untouched' };
      if (!known.startedByUs && !isReplacement) return { kind: 'stop_then_start' };
      return looped ? { kind: 'paid', how: 'crash_loop' } : { kind: 'wait', why: 'it starts and ends over and over' };
    case 'paused':
      if (hasNewStart || known.untouched) return { kind: 'paid', how: 'running' };
      return { kind: 'stop_then_start' };
    case 'exited':
      if (hasNewStart && !isReplacement && endedAsMeant(debt, state, known))
        return { kind: 'paid', how: looped ? 'crash_loop' : 'ended' };
      return { kind: 'start' };
    case 'created':
      return { kind: 'start' };
    case 'removing':
      return { kind: 'wait', why: 'it is being removed' };
    case 'dead':
      return { kind: 'wait', why: 'docker calls it dead; it has to be removed and made again' };
  }
}

/** Ran again and is over by its own nature: a task that succeeded, or a crash loop that gave up. */
function endedAsMeant(debt: Debt, state: ContainerState, known: DebtKnowledge): boolean {
  if (debt.was === 'restarting') return known.startedByUs;
  return state.exitCode === 0 && (debt.restart_policy === 'no' || debt.restart_policy === 'on-failure');
}

/**
 * The container that took a debt's place (`compose up` made it anew meanwhile): same project,
 * service and number, else same service with a number that is not owed itself; a plain one by name.
 */
export function findReplacement(
  debt: Debt,
  containers: readonly ContainerState[],
  taken: ReadonlySet<string>,
): ContainerState | null {
  const free = containers.filter(
    (container) => !container.oneoff && !taken.has(container.id) && container.status !== 'removing',
  );
  if (debt.project === null)
    return free.find((container) => container.project === null && container.name === debt.name) ?? null;
  const peers = free.filter((container) => container.project === debt.project && container.service === debt.service);
  return peers.find((container) => container.number === debt.number) ?? null;
}

/** After Compose made missing containers anew: one of the service that was not there before. */
export function findNewcomer(
  debt: Debt,
  containers: readonly ContainerState[],
  before: ReadonlySet<string>,
): ContainerState | null {
  const newcomers = containers.filter(
    (container) =>
      !container.oneoff &&
      !before.has(container.id) &&
      container.project === debt.project &&
      container.service === debt.service,
  );
  return newcomers.find((container) => container.number === debt.number) ?? newcomers[0] ?? null;
}

/**
 * With a marker that nobody can read, docker itself remembers: what ended after the marker was
 * written. Left out: one-off runs, and tasks that others wait for to complete (they are done).
 */
export function debtsFromEngine(
  containers: readonly ContainerState[],
  sinceMs: number,
  runId: string,
  toDebt: (container: ContainerState) => Debt,
): Debt[] {
  const completed = new Set(
    containers.flatMap((container) =>
      container.dependencies
        .filter(({ condition }) => condition === 'service_completed_successfully')
        .map(({ service }) => `${container.project}/${service}`),
    ),
  );
  return containers
    .filter(
      (container) =>
        container.status === 'exited' &&
        !container.oneoff &&
        !container.swarm &&
        Date.parse(container.finishedAt) >= sinceMs &&
        !completed.has(`${container.project}/${container.service}`),
    )
    .map((container) => ({ ...toDebt(container), run_id: runId }));
}
