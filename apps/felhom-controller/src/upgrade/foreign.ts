import type { ContainerState } from '../engine/engine.ts';
import type { UpgradeDebt } from './debt.ts';
import type { UpgradePorts } from './ports.ts';

/** Containers of the stack that are none of the old version's: they have another image, or another service. */
export async function foreignContainers(
  { engine }: { engine: Pick<UpgradePorts['engine'], 'list'> },
  debt: Pick<UpgradeDebt, 'stack' | 'old'>,
): Promise<ContainerState[]> {
  const own = (await engine.list()).filter(({ project }) => project === debt.stack);
  return own.filter(
    ({ service, imageId }) => !debt.old.some(({ name, image_id }) => name === service && image_id === imageId),
  );
}
