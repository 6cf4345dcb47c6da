import type { ProjectFiles } from '../engine/stack-engine.ts';
import type { KeptFile } from './debt.ts';
import { firstContainers } from './look.ts';
import type { Definition } from './memory.ts';
import type { UpgradePorts } from './ports.ts';
import { containersOf, type StackLook } from './upgrade-plan.ts';

/** How the running definition can be made again. */
export interface OldFiles {
  kind: 'known' | 'unknown';
  /** Every file of that definition: put back where something else lies on disk then, or nothing. */
  old: KeptFile[];
  /** The files as they lie on disk now. */
  present: KeptFile[];
  /** The definition to remember: what runs was made from exactly these files. */
  definition: Definition | null;
}

/**
 * A person edits compose.yaml in place and then upgrades: by then the old file is gone. It is known all the same where
 * the containers carry the hash of what lies on disk, or of what was remembered when it did, or where nothing but the
 * names of images has changed.
 */
export async function findOldFiles(
  { engine, memory, files }: Pick<UpgradePorts, 'engine' | 'memory' | 'files'>,
  look: StackLook,
): Promise<OldFiles> {
  const present = await keepDefinition(files, look.files);
  const running = runningHashes(look);
  if (sameHashes(running, look.comparable)) {
    const definition = { hashes: Object.fromEntries(running), files: present };
    return { kind: 'known', old: present, present, definition };
  }
  const remembered = (await memory.lastGood(look.stack))?.definition ?? null;
  if (remembered !== null && sameHashes(running, new Map(Object.entries(remembered.hashes)))) {
    return { kind: 'known', old: remembered.files, present, definition: remembered };
  }
  const images = Object.fromEntries(
    look.containers.flatMap(({ service, image }) => (service === null ? [] : [[service, image]])),
  );
  const asBefore = await engine.composeConfig(look.files, { images, containers: firstContainers(look.containers) });
  const hashes = new Map(asBefore.services.map(({ name, hash }) => [name, hash]));
  const kind = sameHashes(running, hashes) ? 'known' : 'unknown';
  return { kind, old: present, present, definition: null };
}

/** Everything from which Compose makes a definition: its files, env files, and what these name. */
export async function keepDefinition(files: UpgradePorts['files'], project: ProjectFiles): Promise<KeptFile[]> {
  return await files.keep(await files.belonging(project));
}

function runningHashes(look: StackLook): Map<string, string> {
  const services = new Set(look.containers.flatMap(({ service }) => (service === null ? [] : [service])));
  return new Map([...services].map((service) => [service, containersOf(look, service)[0]?.configHash ?? '']));
}

function sameHashes(running: ReadonlyMap<string, string>, known: ReadonlyMap<string, string>): boolean {
  return [...running].every(([service, hash]) => hash !== '' && known.get(service) === hash);
}
