import { normalize } from 'node:path/posix';
import type { ComposeModel } from '../engine/compose-model.ts';
import { isAnonymous } from './anonymous.ts';
import type { PathFact, SourceFacts } from './source-plan.ts';
import { isSystemPath } from './system-paths.ts';

export interface MovedData {
  /** What containers of the stack write to, and its files name no more: whoever is made from them begins without it. */
  left: string[];
  /** Volumes of the stack that are there and no container has: left by a version that was taken back, or by a person. */
  found: string[];
}

/** Where the files of a stack have its data elsewhere than its containers have it. Pure. */
export function movedData(
  { stack, containers, candidates, paths }: Pick<SourceFacts, 'stack' | 'containers' | 'candidates' | 'paths'>,
  model: ComposeModel | null,
): MovedData {
  if (model === null) return { left: [], found: [] };
  const named = new Set(sourcesIn(model));
  const own = containers.filter(({ project, oneoff }) => project === stack && !oneoff);
  const known = new Set(own.map(({ service }) => service));
  // A service that goes, while none comes, takes nobody's data.
  const comes = Object.keys(model.services ?? {}).some((name) => !known.has(name));
  const staying = own.filter(({ service }) => comes || model.services?.[service ?? ''] !== undefined);
  const left = staying.flatMap(({ mounts, service }) =>
    mounts.flatMap(({ kind, volume, source, destination, writable }) => {
      if (!writable || (kind !== 'volume' && kind !== 'bind')) return [];
      if (kind === 'bind') return named.has(pathOf(source)) || !isData(paths.get(source)) ? [] : [source];
      if (volume === null || named.has(volume)) return [];
      // Compose hands what has no name on, as long as its service and its place are there.
      return isAnonymous(volume) && isHandedOn(model, service, destination) ? [] : [volume];
    }),
  );
  const used = new Set(containers.flatMap(({ mounts }) => mounts.flatMap(({ volume }) => volume ?? [])));
  const found = candidates.filter(
    ({ kind, name, key, volume }) =>
      kind === 'volume' && volume !== null && !used.has(name) && model.volumes?.[key ?? '']?.['external'] !== true,
  );
  return { left: [...new Set(left)].toSorted(), found: found.map(({ name }) => name).toSorted() };
}

/** Volumes by their names on the engine, and folders. */
function sourcesIn(model: ComposeModel): string[] {
  return Object.values(model.services ?? {}).flatMap(({ volumes }) =>
    (volumes ?? []).flatMap(({ type, source }) => {
      if (source === null || source === undefined) return [];
      return type === 'bind' ? [pathOf(source)] : [model.volumes?.[source]?.name ?? source];
    }),
  );
}

/** A socket, a single file or a folder of the system is no data that one begins without. */
function isData(fact: PathFact | undefined): boolean {
  return fact?.kind === 'folder' && !isSystemPath(fact.resolved);
}

function isHandedOn(model: ComposeModel, service: string | null, destination: string): boolean {
  const definition = model.services?.[service ?? ''];
  if (definition === undefined) return false;
  const there = definition.volumes?.find(({ target }) => target != null && pathOf(target) === pathOf(destination));
  return there?.source == null || there.source === '';
}

function pathOf(path: string): string {
  return normalize(path).replace(/(?<=.)\/$/, '');
}
