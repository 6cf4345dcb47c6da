import type { StackEngine } from '../engine/stack-engine.ts';
import type { UpgradeDebt } from './debt.ts';

/** What Compose looks for on a container of a service (Compose 2.20 to 2.40); a hash of its own makes it differ from any file. */
const label = 'com.docker.compose.';

/**
 * Volumes without a name are known by a container's mounts alone, and Compose hands them on from the container that it
 * replaces to the one that it makes. So each container that had some gets a stand-in, never started, which Compose
 * replaces, replica by replica.
 */
export async function makeStandIns({
  ports: { engine },
  debt,
}: {
  ports: { engine: Pick<StackEngine, 'pinImage'> };
  debt: Pick<UpgradeDebt, 'stack' | 'files' | 'old'>;
}): Promise<void> {
  for (const { name, image_id: imageId, anonymous } of debt.old) {
    const numbers = new Set(anonymous.map(({ number }) => number));
    for (const number of numbers) {
      await engine.pinImage({
        name: `${debt.stack}-${name}-${number}`,
        imageId,
        labels: {
          [`${label}project`]: debt.stack,
          [`${label}service`]: name,
          [`${label}container-number`]: String(number),
          [`${label}oneoff`]: 'False',
          [`${label}config-hash`]: 'felhom',
          [`${label}project.config_files`]: debt.files.composeFiles.join(','),
          ...(debt.files.workingDir === null ? {} : { [`${label}project.working_dir`]: debt.files.workingDir }),
        },
        volumes: anonymous.filter((each) => each.number === number),
      });
    }
  }
}
