import type { ContainerMount, ContainerState } from '../engine/engine.ts';
import { type Debt, type OwedCommand, stackOf } from './marker.ts';
import { type Dependencies, dependenciesAmong, isReferenceTo, type Ordered, startLevels } from './order.ts';
import type { QuiescePolicy, StackPolicy } from './policy.ts';
import type { KeptContainer } from './result.ts';

export const defaultGraceMs = 10_000;

/** A command of the configuration, with the container in which it runs. */
export interface PlannedCommand {
  stack: string;
  service: string;
  command: string;
  containerId: string;
}

/** What a run would stop, in which order, and what it leaves running and why. */
export interface QuiescePlan {
  stop: ContainerState[];
  dependencies: Dependencies;
  kept: KeptContainer[];
  /** Ids of those kept because configuration, or our own life, says so: they do not spoil a grade. */
  keptByConfiguration: ReadonlySet<string>;
  beforeStop: PlannedCommand[];
  afterStart: OwedCommand[];
}

export interface PlanInput {
  containers: readonly ContainerState[];
  policy: QuiescePolicy;
  ownContainerId: string | null;
  /** Stacks that still owe from an earlier run: left as they are. */
  owedStacks: ReadonlySet<string>;
  /** The one stack that is meant; without it all are. */
  only?: string;
}

/**
 * Decides over the containers that run (`restarting` counts). Kept: what configuration or a label
 * keeps, ourselves, what a stop would lose or what would run again by a start (`--rm`, one-off
 * runs, swarm tasks), what a person has paused, and every container in whose namespaces a kept one lives.
 */
export function planQuiesce({ containers, policy, ownContainerId, owedStacks, only }: PlanInput): QuiescePlan {
  const ran = containers.filter(({ status }) => status === 'running' || status === 'restarting' || status === 'paused');
  const why = new Map<string, string>();
  for (const container of ran) {
    const isMeant = only === undefined || stackOf(container) === only;
    const reason = isMeant ? reasonToKeep(container, policy, ownContainerId, owedStacks) : 'not asked for';
    if (reason !== null) why.set(container.id, reason);
  }
  keepNamespaceHolders(ran, why);
  const stop = ran.filter(({ id }) => !why.has(id));
  return {
    stop,
    dependencies: dependenciesAmong(stop.map(toOrdered)),
    kept: ran.flatMap((container) => {
      const reason = why.get(container.id);
      return reason === undefined ? [] : [{ stack: stackOf(container), container: container.name, why: reason }];
    }),
    keptByConfiguration: new Set(ran.filter(({ id }) => isByConfiguration(why.get(id))).map(({ id }) => id)),
    ...plannedCommands(stop, policy),
  };
}

function isByConfiguration(reason: string | undefined): boolean {
  return reason === 'keep' || reason === 'protected' || reason === 'namespace';
}

function policyOf(policy: QuiescePolicy, container: ContainerState): StackPolicy {
  const stack = stackOf(container);
  return Object.hasOwn(policy.stacks, stack) ? (policy.stacks[stack] ?? {}) : {};
}

function reasonToKeep(
  container: ContainerState,
  policy: QuiescePolicy,
  ownContainerId: string | null,
  owedStacks: ReadonlySet<string>,
): string | null {
  if (container.id === ownContainerId) return 'protected';
  if (container.labels['felhom.quiesce'] === 'keep' || policyOf(policy, container).quiesce === 'keep') return 'keep';
  if (container.swarm) return 'swarm';
  if (container.oneoff) return 'one-off';
  if (container.autoRemove) return 'auto-remove';
  if (container.status === 'paused') return 'paused';
  if (owedStacks.has(stackOf(container))) return 'owed';
  return null;
}

/** A container that loses the holder of its network is cut off until it is started anew: the holder stays up with it. */
function keepNamespaceHolders(ran: readonly ContainerState[], why: Map<string, string>): void {
  const waiting = ran.filter(({ id }) => why.has(id));
  for (let kept = waiting.pop(); kept !== undefined; kept = waiting.pop()) {
    const references = kept.namespacesOf;
    const spoilt = !isByConfiguration(why.get(kept.id));
    for (const holder of ran) {
      if (why.has(holder.id) || !references.some((reference) => isReferenceTo(reference, holder))) continue;
      why.set(holder.id, spoilt ? `holds the network of ${kept.name}` : 'namespace');
      waiting.push(holder);
    }
  }
}

function plannedCommands(
  stop: readonly ContainerState[],
  policy: QuiescePolicy,
): Pick<QuiescePlan, 'beforeStop' | 'afterStart'> {
  const beforeStop: PlannedCommand[] = [];
  const afterStart: OwedCommand[] = [];
  for (const stack of new Set(stop.map(stackOf))) {
    const own = Object.hasOwn(policy.stacks, stack) ? policy.stacks[stack] : undefined;
    const before = own?.before_stop === undefined ? null : parseServiceCommand(own.before_stop);
    const runsIn = stop.find(
      (container) =>
        stackOf(container) === stack && container.service === before?.service && container.status === 'running',
    );
    if (before !== null && runsIn !== undefined) beforeStop.push({ stack, ...before, containerId: runsIn.id });
    const after = own?.after_start === undefined ? null : parseServiceCommand(own.after_start);
    if (after !== null) afterStart.push({ stack, ...after });
  }
  return { beforeStop, afterStart };
}

/** `app: occ maintenance:mode --on` → service and command; null where there is no service before a colon. */
export function parseServiceCommand(text: string): { service: string; command: string } | null {
  const match = /^\s*([A-Za-z0-9._-]+)\s*:\s*(\S.*)$/s.exec(text);
  return match?.[1] === undefined || match[2] === undefined ? null : { service: match[1], command: match[2] };
}

export function toOrdered(container: ContainerState): Ordered {
  const { id, name, project, service, dependencies, namespacesOf } = container;
  return { id, name, project, service, dependencies, namespacesOf };
}

export function graceMs(container: { stopTimeoutSeconds: number | null }): number {
  // A negative timeout means that the engine waits without limit; our own bound must still come.
  const seconds = container.stopTimeoutSeconds;
  return seconds === null ? defaultGraceMs : seconds < 0 ? 60_000 : seconds * 1_000;
}

/** What is owed to a container once it is stopped. */
export function toDebt(container: ContainerState, all: readonly ContainerState[], runId: string): Debt {
  return {
    id: container.id,
    name: container.name,
    project: container.project,
    service: container.service,
    number: container.number,
    started_at: container.startedAt,
    was: container.status === 'restarting' ? 'restarting' : 'running',
    was_healthy: container.health.status === 'healthy',
    restart_policy: container.restartPolicy,
    stop_grace_ms: graceMs(container),
    health_limit_ms: container.health.startLimitMs,
    dependencies: container.dependencies.map(({ service, condition }) => ({ service, condition })),
    namespaces_of: container.namespacesOf.map(
      (reference) => all.find((other) => isReferenceTo(reference, other))?.id ?? reference,
    ),
    compose_files: container.composeFiles,
    env_files: container.envFiles,
    working_dir: container.workingDir,
    run_id: runId,
  };
}

/** Debts as ordering sees them. */
export function debtAsOrdered(debt: Debt): Ordered {
  return { ...debt, namespacesOf: debt.namespaces_of };
}

/** Holds data of the app's: a writable volume or bind mount that is no socket and no part of the system. */
export function hasWritableData(container: ContainerState): boolean {
  return container.mounts.some(isAppData);
}

export function isAppData(mount: ContainerMount): boolean {
  if (!mount.writable || (mount.kind !== 'volume' && mount.kind !== 'bind')) return false;
  return mount.kind === 'volume' || !/\.sock$|^\/(?:dev|proc|sys|run)(?:\/|$)/.test(mount.source);
}

/** The stop order as a person reads it: dependents first, by name. */
export function stopOrder(plan: QuiescePlan): string[][] {
  const names = new Map(plan.stop.map(({ id, name }) => [id, name]));
  return startLevels(plan.dependencies)
    .toReversed()
    .map((level) => level.map((id) => names.get(id) ?? id));
}
