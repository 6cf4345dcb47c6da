import { Failure } from '@felhom/kernel/failure.ts';
import { lookAtStack } from './look.ts';
import type { KnownBad } from './memory.ts';
import { findOldFiles, type OldFiles } from './old-files.ts';
import type { DataPlan, UpgradePorts } from './ports.ts';
import { type Gate, judgeGates } from './preflight-rules.ts';
import type { UpgradeSettings } from './run.ts';
import { planUpgrade, type StackLook, type UpgradePlan } from './upgrade-plan.ts';

/** What is known of an upgrade before anything stops. */
export interface Checked {
  look: StackLook;
  plan: UpgradePlan;
  gates: Gate[];
  oldFiles: OldFiles;
  data: DataPlan;
  /** The target was rolled back before, and nobody has allowed it since. */
  heldBack: KnownBad | null;
}

export interface CheckOptions {
  askRegistry: boolean;
  force: boolean;
}

/** Looks at everything, stops nothing, and remembers the definition of what runs where it is known. */
export async function checkStack(
  ports: UpgradePorts,
  settings: UpgradeSettings,
  stack: string,
  { askRegistry, force }: CheckOptions,
): Promise<Checked> {
  const look = await lookAtStack(ports, stack, { askRegistry, registryMs: settings.bounds.registryMs });
  const plan = planUpgrade(look);
  const oldFiles = await findOldFiles(ports, look);
  const data = await ports.data.plan(stack);
  await remember(ports, stack, oldFiles);
  const gates = judgeGates(
    {
      plan,
      containers: look.containers,
      oneOffs: look.oneOffs,
      serviceLabels: look.config.services.map(({ labels }) => labels),
      flagFile: (await ports.files.exists(settings.blockFile)) ? settings.blockFile : null,
      lostImages: await lostImages(ports, look),
      oldFiles: oldFiles.kind,
      data,
      unwritable: await ports.files.unwritable(data.folders, 0),
      minFreeBytes: settings.bounds.minFreeBytes,
    },
    { force },
  );
  return { look, plan, gates, oldFiles, data, heldBack: heldBackBy(plan, await ports.memory.knownBad(stack)) };
}

/** The same images by id, whatever they are called, or the same target as a whole. */
export function heldBackBy(plan: UpgradePlan, bad: readonly KnownBad[]): KnownBad | null {
  const ids = new Set(plan.target.images.map(({ id }) => id));
  return (
    bad.find(
      ({ key, image_ids }) => key === plan.target.key || (image_ids.length > 0 && image_ids.every((id) => ids.has(id))),
    ) ?? null
  );
}

async function lostImages({ engine }: UpgradePorts, { containers }: StackLook): Promise<string[]> {
  const found = await Promise.all(
    containers.map(async ({ name, imageId }) => ((await engine.image(imageId)) === null ? [name] : [])),
  );
  return found.flat();
}

/** While files and containers agree, the files are worth keeping: the next edit of them overwrites them. */
async function remember({ memory }: UpgradePorts, stack: string, { definition }: OldFiles): Promise<void> {
  if (definition === null) return;
  const before = await memory.lastGood(stack);
  if (JSON.stringify(before?.definition) === JSON.stringify(definition)) return;
  await memory.saveLastGood({ stack, definition, previous: before?.previous ?? null });
}

/** @throws Failure `held_back`, `policy_refused`, `upgrade_blocked` with every closed gate. */
export function refuseWhereClosed(checked: Checked, settings: UpgradeSettings): void {
  const { plan, heldBack, gates } = checked;
  if (settings.policyOf(plan.stack).policy === 'never') {
    throw new Failure('policy_refused', {
      message: `the configuration says that ${plan.stack} is never upgraded; nothing was stopped`,
      hint: `Change stacks.${plan.stack}.upgrade.policy, then run the same command again.`,
    });
  }
  if (heldBack !== null) {
    throw new Failure('held_back', {
      message: `this target was rolled back at ${heldBack.at} (${heldBack.why}) and is held back; nothing was stopped`,
      hint: `Try it again all the same: felhom-controller upgrade allow ${plan.stack}`,
    });
  }
  const closed = gates.filter(({ state }) => state === 'closed');
  if (closed.length === 0) return;
  const soft = closed.every((each) => each.soft);
  throw new Failure('upgrade_blocked', {
    message: `${plan.stack} cannot be upgraded; nothing was stopped\n${closed.map(({ name, why }) => `${name}: ${why ?? ''}`).join('\n')}`,
    hint: soft
      ? `Mend it, or go on all the same: felhom-controller upgrade apply ${plan.stack} --force`
      : `Mend it, then run the same command again.`,
  });
}
