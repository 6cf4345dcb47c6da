import type { ComposeModel } from './compose-model.ts';
import type { Engine, RestartPolicy } from './engine.ts';
import type { ProjectFiles } from './stack-engine.ts';

/** A volume as the engine keeps it. */
export interface VolumeState {
  name: string;
  driver: string;
  /** Where its data lies on this machine while nothing is mounted elsewhere; of other drivers often empty. */
  mountpoint: string;
  /** Driver options: with any of them the data may lie elsewhere, and `mountpoint` is empty while no container runs. */
  options: Record<string, string>;
}

/** What volume snapshots ask of docker besides the rest. Same contract: bounded calls, what is gone is a value. */
export interface VolumeEngine extends Engine {
  /** In the order asked; null: no such volume. */
  volumes(names: readonly string[]): Promise<(VolumeState | null)[]>;
  /** `docker update --restart`: survives restarts of the engine, and starts nothing. */
  setRestartPolicy(id: string, policy: { name: RestartPolicy; retries: number }): Promise<'updated' | 'gone'>;
  /** What Compose makes of a project's files, interpolated, every profile included. @throws Failure `operation_failed` with Compose's own words. */
  composeModel(project: ProjectFiles): Promise<ComposeModel>;
}
