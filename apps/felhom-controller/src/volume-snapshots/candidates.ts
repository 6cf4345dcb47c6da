import type { ComposeModel } from '../engine/compose-model.ts';
import type { ContainerState } from '../engine/engine.ts';
import type { VolumeState } from '../engine/volume-engine.ts';

/** A mount of a stack, from its containers and from its Compose files together. */
export interface Candidate {
  kind: 'volume' | 'bind';
  /** The volume's name, or the path. */
  name: string;
  /** How the Compose file calls a volume. */
  key: string | null;
  /** Of a bind: the host's path. Of a volume: empty. */
  path: string;
  writable: boolean;
  services: string[];
  /** Null: the engine has none of that name. */
  volume: VolumeState | null;
}

interface Seen {
  kind: 'volume' | 'bind';
  name: string;
  key: string | null;
  writable: boolean;
  service: string;
}

/** What a stack mounts: what its containers have, and what its files ask for. */
export function candidatesOf(
  containers: readonly ContainerState[],
  model: ComposeModel | null,
  volumes: ReadonlyMap<string, VolumeState>,
): Candidate[] {
  const merged = new Map<string, Candidate>();
  for (const seen of [...seenOnContainers(containers), ...seenInModel(model)]) {
    const id = `${seen.kind}:${seen.name}`;
    const known = merged.get(id);
    merged.set(id, {
      kind: seen.kind,
      name: seen.name,
      key: known?.key ?? seen.key,
      path: seen.kind === 'bind' ? seen.name : '',
      writable: known?.writable === true || seen.writable,
      services: [...new Set([...(known?.services ?? []), seen.service])].toSorted(),
      volume: volumes.get(seen.name) ?? null,
    });
  }
  return [...merged.values()];
}

/** Names of every volume that a stack may mean. */
export function volumeNames(containers: readonly ContainerState[], model: ComposeModel | null): string[] {
  const seen = [...seenOnContainers(containers), ...seenInModel(model)];
  return [...new Set(seen.filter(({ kind }) => kind === 'volume').map(({ name }) => name))].toSorted();
}

function seenOnContainers(containers: readonly ContainerState[]): Seen[] {
  return containers.flatMap(({ mounts, service, name: container }) =>
    mounts.flatMap((mount): Seen[] => {
      const { kind, writable } = mount;
      if (kind !== 'volume' && kind !== 'bind') return [];
      const name = kind === 'volume' ? (mount.volume ?? '') : mount.source;
      return name === '' ? [] : [{ kind, name, key: null, writable, service: service ?? container }];
    }),
  );
}

function seenInModel(model: ComposeModel | null): Seen[] {
  return Object.entries(model?.services ?? {}).flatMap(([service, { volumes }]) =>
    (volumes ?? []).flatMap(({ type, source, read_only }): Seen[] => {
      if (source === null || source === undefined || source === '') return [];
      const writable = read_only !== true;
      if (type === 'bind') return [{ kind: 'bind', name: source, key: null, writable, service }];
      if (type !== 'volume') return [];
      const name = model?.volumes?.[source]?.name ?? source;
      return [{ kind: 'volume', name, key: source, writable, service }];
    }),
  );
}
