import type { UpgradePorts } from './ports.ts';
import type { StackLook } from './upgrade-plan.ts';

/** The label of a container that only holds an image. */
export const pinLabel = 'felhom.pin';

/**
 * Holds the images that run by containers that are never started: `docker image prune -a` spares what a container
 * needs, and takes what only has a name.
 */
export async function holdImages({ engine }: UpgradePorts, { stack, containers }: StackLook): Promise<void> {
  for (const imageId of new Set(containers.map((each) => each.imageId))) {
    if ((await engine.image(imageId)) === null) continue; // Lost already, which a gate has told.
    await engine.pinImage({ name: pinName(stack, imageId), imageId, labels: { [pinLabel]: stack } });
  }
}

function pinName(stack: string, imageId: string): string {
  return `felhom-pin-${stack}-${imageId.replace(/^sha256:/, '').slice(0, 12)}`;
}

/** Lets go of every image that neither runs nor is what `upgrade rollback` would go back to. */
export async function tidyPins({ engine, memory }: UpgradePorts, stack: string): Promise<void> {
  const previous = (await memory.lastGood(stack))?.previous ?? null;
  const wanted = new Set(previous?.old.map(({ image_id }) => image_id));
  const pins = (await engine.list()).filter(({ labels }) => labels[pinLabel] === stack);
  for (const { id, imageId } of pins) {
    if (!wanted.has(imageId)) await engine.remove(id, { boundMs: 30_000 });
  }
}
