import { Failure } from '@felhom/kernel/failure.ts';
import type { ContainerState } from '../engine/engine.ts';

/** What counts as running: whatever has, or may at any moment have, a process. */
export function isUp({ status }: ContainerState): boolean {
  return status === 'running' || status === 'restarting' || status === 'paused' || status === 'removing';
}

/** @throws Failure `stack_running` naming what runs. `doing`: what was refused. */
export function requireDown(stack: string, containers: readonly ContainerState[], doing: string): void {
  const up = containers.filter((container) => container.project === stack && isUp(container));
  if (up.length === 0) return;
  throw new Failure('stack_running', {
    message: `${doing} was refused: ${up.map(({ name, status }) => `${name} is ${status}`).join(', ')}. Nothing was touched`,
    hint: `Stop the stack first: docker compose -p ${stack} stop`,
  });
}

/** The state of a stack that must not change while its data is read: who is there, and when it last started. */
export function standing(stack: string, containers: readonly ContainerState[]): string {
  return containers
    .filter(({ project }) => project === stack)
    .map(({ id, status, startedAt, finishedAt }) => `${id} ${status} ${startedAt} ${finishedAt}`)
    .toSorted()
    .join('\n');
}
