import type { UpgradePorts } from './ports.ts';
import type { StackLook } from './upgrade-plan.ts';

/** The label of a container that only holds an image. */
export const pinLabel = 'felhom.pin';

/** The repository of names that we give. */
export const keptRepository = 'felhom-kept';

/**
 * Holds the images that run, in two ways, each against another broom: `docker image prune -a` spares what a container
 * needs, one that is never started too, and takes what only has a name; `docker system prune` takes such a container, and
 * then spares what has a name. Against `docker system prune -a` nothing on the engine helps: the digests that it answers
 * are what such an image is fetched by again.
 */
export async function holdImages(
  { engine }: UpgradePorts,
  { stack, containers }: StackLook,
): Promise<Map<string, readonly string[]>> {
  const digests = new Map<string, readonly string[]>();
  for (const imageId of new Set(containers.map((each) => each.imageId))) {
    const found = await engine.image(imageId);
    if (found === null) continue; // Lost already, which a gate has told.
    digests.set(imageId, found.digests);
    await engine.pinImage({ name: `felhom-pin-${stack}-${shortId(imageId)}`, imageId, labels: { [pinLabel]: stack } });
    await engine.tag(imageId, keptName(stack, imageId));
  }
  return digests;
}

function keptName(stack: string, imageId: string): string {
  return `${keptRepository}:${stack}-${shortId(imageId)}`;
}

function shortId(imageId: string): string {
  return imageId.replace(/^sha256:/, '').slice(0, 12);
}

/** Lets go of every image that neither runs nor is what `upgrade rollback` would go back to. */
export async function tidyPins({ engine, memory }: UpgradePorts, stack: string): Promise<void> {
  const previous = (await memory.lastGood(stack))?.previous ?? null;
  const wanted = new Set(previous?.old.map(({ image_id }) => image_id));
  const pins = (await engine.list()).filter(({ labels }) => labels[pinLabel] === stack);
  for (const { id, imageId } of pins) {
    if (!wanted.has(imageId)) await engine.remove(id, { boundMs: 30_000 });
  }
  const kept = new Set([...wanted].map((imageId) => keptName(stack, imageId)));
  const ours = new RegExp(`^${keptRepository}:${stack}-[^-]+$`);
  for (const name of await engine.namesOf(keptRepository))
    if (ours.test(name) && !kept.has(name)) await engine.untag(name);
}
