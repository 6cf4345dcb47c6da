import type { ContainerState } from '../engine/engine.ts';
import { toDebt } from '../quiesce/plan.ts';
import { isAnonymous } from '../volume-snapshots/anonymous.ts';
import type { OldService, UpgradeDebt } from './debt.ts';
import type { OldFiles } from './old-files.ts';
import { containersOf, ran, type StackLook, type UpgradePlan } from './upgrade-plan.ts';

export interface PromiseInput {
  look: StackLook;
  plan: UpgradePlan;
  oldFiles: OldFiles;
  runId: string;
  bootId: string;
  engineId: string;
  nowMs: number;
  deadlineMs: number;
  rollbackAfter: number;
  data: UpgradeDebt['data'];
  reserved: string[];
  /** By image id: the digests under which registries know it. */
  digests: ReadonlyMap<string, readonly string[]>;
}

/** What is owed to a stack from the moment before its first container stops. */
export function promiseOf(input: PromiseInput): UpgradeDebt {
  const { look, plan, oldFiles, runId } = input;
  return {
    run_id: runId,
    stack: look.stack,
    engine_id: input.engineId,
    boot_id: input.bootId,
    written_at_ms: input.nowMs,
    deadline_at_ms: input.deadlineMs,
    phase: 'staged',
    reason: null,
    asked: 'no',
    activated_at_ms: null,
    files: {
      project: look.files.project,
      composeFiles: [...look.files.composeFiles],
      envFiles: [...look.files.envFiles],
      workingDir: look.files.workingDir,
    },
    containers: look.containers
      .filter(ran)
      // Without files: a container that is gone is made again by a rollback alone, never from the new files.
      .map((each) => ({ ...toDebt(each, look.containers, runId), compose_files: [], env_files: [] })),
    policies: look.containers
      .filter(({ restartPolicy }) => restartPolicy !== 'no')
      .map(({ id, restartPolicy, restartRetries }) => ({ id, name: restartPolicy, retries: restartRetries })),
    old: oldServices(look, input.digests),
    old_files: oldFiles.old,
    new_files: oldFiles.present,
    up: plan.up,
    dropped: plan.dropped,
    target: { key: plan.target.key, images: newImages(look, plan) },
    rollback_after: input.rollbackAfter,
    snapshot_id: null,
    keep_since: false,
    since_id: null,
    data_restored: false,
    old_made: false,
    reserved: input.reserved,
    data: input.data,
  };
}

function oldServices(look: StackLook, digests: PromiseInput['digests']): OldService[] {
  const names = new Set(look.containers.flatMap(({ service }) => (service === null ? [] : [service])));
  return [...names].map((name) => {
    const own = containersOf(look, name);
    const [first] = own;
    return {
      name,
      image_ref: first?.image ?? '',
      image_id: first?.imageId ?? '',
      config_hash: first?.configHash ?? '',
      digests: [...(digests.get(first?.imageId ?? '') ?? [])],
      ran: own.some(ran),
      was_healthy:
        own.every(({ health }) => health.status !== 'unhealthy') && !own.some(({ status }) => status === 'restarting'),
      task: look.containers.some(({ dependencies }) =>
        dependencies.some((each) => each.service === name && each.condition === 'service_completed_successfully'),
      ),
      anonymous: own.flatMap(anonymousVolumes),
    };
  });
}

function anonymousVolumes({ mounts, number }: ContainerState): OldService['anonymous'] {
  return mounts.flatMap(({ kind, volume, destination }) =>
    kind === 'volume' && volume !== null && isAnonymous(volume)
      ? [{ volume, target: destination, number: number ?? 1 }]
      : [],
  );
}

/** Every service that is brought up, with the image that it has to have afterwards. */
function newImages({ config, images }: StackLook, { up }: UpgradePlan): UpgradeDebt['target']['images'] {
  return config.services.flatMap(({ name, image }) => {
    const id = images.get(image)?.id;
    return up.includes(name) && id !== undefined ? [{ service: name, ref: image, id }] : [];
  });
}
