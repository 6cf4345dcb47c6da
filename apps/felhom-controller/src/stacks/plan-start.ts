import type { ContainerState } from '../engine/engine.ts';
import type { DeclaredStack } from './declared.ts';

/** What one look at a declared stack comes to. */
export type StackVerdict =
  | { kind: 'runs' }
  | { kind: 'start'; containers: readonly ContainerState[] }
  | { kind: 'left_alone'; why: string }
  | { kind: 'not_installed'; why: string };

export interface StackPlan {
  stack: DeclaredStack;
  verdict: StackVerdict;
  /** Containers that do not run and that nothing is done about, with the reason. */
  leftOff: readonly { container: string; why: string }[];
}

export interface StartPlanInput {
  declared: readonly DeclaredStack[];
  containers: readonly ContainerState[];
  /** Why a stack is not ours to touch now: under a marker, in an upgrade, held by a person. */
  untouchable: ReadonlyMap<string, string>;
  /** Ids of containers that ran when the guest went down: they are no finished tasks, whatever their exit code. */
  wentDown: ReadonlySet<string>;
}

/**
 * Decides what of the declared stacks is to be started. Pure. Nothing is ever made: a stack without containers is
 * not installed, a container that never started was not meant to run yet. What has ended as it should (exit 0 under a
 * restart policy that leaves it at that) is a finished task and never runs twice, unless its service is named or it went
 * down with the guest.
 */
export function planStarts({ declared, containers, untouchable, wentDown }: StartPlanInput): StackPlan[] {
  return declared.map((stack) => {
    const why = untouchable.get(stack.name);
    if (why !== undefined) return { stack, verdict: { kind: 'left_alone', why }, leftOff: [] };
    const own = containers.filter(
      ({ project, oneoff, swarm, service }) =>
        project === stack.name &&
        !oneoff &&
        !swarm &&
        (stack.services === null || stack.services.includes(service ?? '')),
    );
    const missing = stack.services?.find((service) => own.every((each) => each.service !== service));
    if (own.length === 0 || missing !== undefined) {
      const what = missing === undefined ? 'it has no containers' : `its service ${missing} has no container`;
      return { stack, verdict: { kind: 'not_installed', why: what }, leftOff: [] };
    }
    const judged = own.map((container) => ({ container, why: whyNotStarted(container, stack, wentDown) }));
    const start = judged.filter(({ why: reason }) => reason === 'start').map(({ container }) => container);
    return {
      stack,
      verdict: start.length === 0 ? { kind: 'runs' } : { kind: 'start', containers: start },
      leftOff: judged.flatMap(({ container, why: reason }) =>
        reason === null || reason === 'start' ? [] : [{ container: container.name, why: reason }],
      ),
    };
  });
}

/** `start`; null: it runs; else why it is left off. */
function whyNotStarted(
  container: ContainerState,
  { services }: DeclaredStack,
  wentDown: ReadonlySet<string>,
): string | null {
  const isNamed = services !== null;
  switch (container.status) {
    case 'running':
    case 'restarting':
      return null;
    case 'paused':
      return 'it is paused';
    case 'created':
      return isNamed ? 'start' : 'it was never started';
    case 'exited': {
      const isTask = container.restartPolicy === 'no' || container.restartPolicy === 'on-failure';
      return !isNamed && isTask && container.exitCode === 0 && !wentDown.has(container.id)
        ? 'it has finished'
        : 'start';
    }
    case 'removing':
    case 'dead':
      return `docker calls it ${container.status}`;
  }
}
