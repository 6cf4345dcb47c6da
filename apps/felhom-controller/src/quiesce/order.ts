import type { DependencyCondition } from '../engine/engine.ts';

/** What ordering needs to know of a container, running or owed. */
export interface Ordered {
  id: string;
  name: string;
  project: string | null;
  service: string | null;
  dependencies: readonly { service: string; condition: DependencyCondition }[];
  namespacesOf: readonly string[];
}

export interface Edge {
  /** The container that must be up first. */
  id: string;
  condition: DependencyCondition;
}

/** From each container's id to those it needs. Never has a cycle, names only ids among its keys. */
export type Dependencies = ReadonlyMap<string, readonly Edge[]>;

/**
 * Who needs whom among these containers: the label `com.docker.compose.depends_on` (every replica of
 * the service named), and containers whose namespaces are shared. An edge that would close a circle
 * is left out: labels are what somebody wrote, and a circle must not keep an app down.
 */
export function dependenciesAmong(containers: readonly Ordered[]): Dependencies {
  const edges = new Map(containers.map((container) => [container.id, wantedEdges(container, containers)]));
  const done = new Set<string>();
  const underWay = new Set<string>();
  const visit = (id: string): void => {
    underWay.add(id);
    const kept = (edges.get(id) ?? []).filter((edge) => !underWay.has(edge.id));
    edges.set(id, kept);
    for (const edge of kept) if (!done.has(edge.id)) visit(edge.id);
    underWay.delete(id);
    done.add(id);
  };
  for (const { id } of containers) if (!done.has(id)) visit(id);
  return edges;
}

function wantedEdges(container: Ordered, all: readonly Ordered[]): Edge[] {
  const found = new Map<string, Edge>();
  for (const other of all) {
    if (other.id === container.id) continue;
    const named = other.project !== null && other.project === container.project;
    const dependency = named ? container.dependencies.find((each) => each.service === other.service) : undefined;
    const shares = container.namespacesOf.some((reference) => isReferenceTo(reference, other));
    if (dependency !== undefined) found.set(other.id, { id: other.id, condition: dependency.condition });
    else if (shares) found.set(other.id, { id: other.id, condition: 'service_started' });
  }
  return [...found.values()];
}

/** Docker keeps the id in `container:…`, or the name where somebody typed a name. */
export function isReferenceTo(reference: string, container: { id: string; name: string }): boolean {
  return (
    reference === container.id ||
    reference === container.name ||
    (reference.length >= 12 && container.id.startsWith(reference))
  );
}

/** The same edges seen from the other end: who must be down before this one is stopped. */
export function dependentsAmong(dependencies: Dependencies): ReadonlyMap<string, readonly string[]> {
  const dependents = new Map<string, string[]>([...dependencies.keys()].map((id) => [id, []]));
  for (const [id, edges] of dependencies) for (const edge of edges) dependents.get(edge.id)?.push(id);
  return dependents;
}

/** Ids level by level: a level needs only levels before it. What a person is shown as the order. */
export function startLevels(dependencies: Dependencies): string[][] {
  const levelOf = new Map<string, number>();
  const level = (id: string): number => {
    const known = levelOf.get(id);
    if (known !== undefined) return known;
    const own = Math.max(-1, ...(dependencies.get(id) ?? []).map((edge) => level(edge.id))) + 1;
    levelOf.set(id, own);
    return own;
  };
  const levels: string[][] = [];
  for (const id of dependencies.keys()) levels[level(id)] = [...(levels[level(id)] ?? []), id];
  return levels;
}
