import { Failure } from '@felhom/kernel/failure.ts';
import { loadConfig, locateConfig, quiescePolicy } from '../config.ts';
import type { ContainerState } from '../engine/engine.ts';
import { stackOf } from '../quiesce/marker.ts';
import { graceMs, planQuiesce } from '../quiesce/plan.ts';
import { readHolds } from '../stacks/holds.ts';
import { pinLabel } from '../upgrade/pins.ts';
import { openEngine } from '../wiring.ts';
import type { CommandContext } from './context.ts';
import { inStack } from './names.ts';
import { table } from './table.ts';

interface SeenContainer {
  name: string;
  service: string | null;
  status: string;
  health: string;
  image: string;
  restart_policy: string;
  stop_grace_ms: number;
  depends_on: string[];
  /** `stop`, `stays off`, or why it is kept running. */
  in_a_backup: string;
}

interface SeenStack {
  name: string;
  kind: 'compose' | 'plain';
  running: number;
  containers: SeenContainer[];
  in_a_backup: string;
  /** Since when, and why, a person has it in hand (`stack hold`); null: nobody has. */
  held: { at: string; reason: string | null } | null;
}

/** `stack list` */
export async function stackList(context: CommandContext): Promise<void> {
  const stacks = await lookAtStacks(context);
  context.reporter.result({ schema: 'felhom.stacks/1', stacks }, () => listText(stacks));
}

/** `stack show NAME` */
export async function stackShow(context: CommandContext, name: string): Promise<void> {
  const stacks = await lookAtStacks(context);
  const stack = stacks.find((each) => each.name === name);
  if (stack === undefined) {
    throw new Failure('not_found', {
      message: `docker knows no stack ${JSON.stringify(name)}`,
      hint: 'felhom-controller stack list shows Compose projects and plain containers.',
    });
  }
  context.reporter.result({ schema: 'felhom.stack/1', stack }, () => showText(stack));
}

async function lookAtStacks({ flags, env }: CommandContext): Promise<SeenStack[]> {
  const { config } = await loadConfig(locateConfig(flags, env));
  const holds = await readHolds(config.state_dir);
  const engine = await openEngine(env);
  try {
    await engine.identity();
    // What only holds an image for a rollback is nobody's stack.
    const containers = (await engine.list()).filter(({ labels }) => labels[pinLabel] === undefined);
    const plan = planQuiesce({
      containers,
      policy: quiescePolicy(config),
      ownContainerId: null,
      owedStacks: new Set(),
    });
    const stopped = new Set(plan.stop.map(({ name }) => name));
    const kept = new Map(plan.kept.map(({ container, why }) => [container, why]));
    const fate = ({ name }: ContainerState): string => (stopped.has(name) ? 'stop' : (kept.get(name) ?? 'stays off'));
    const names = [...new Set(containers.map(stackOf))].toSorted();
    return names.map((name) =>
      describeStack(
        name,
        containers.filter((container) => stackOf(container) === name),
        { fate, held: holds[name] ?? null },
      ),
    );
  } finally {
    await engine.close();
  }
}

function describeStack(
  name: string,
  containers: readonly ContainerState[],
  { fate, held }: { fate: (container: ContainerState) => string; held: SeenStack['held'] },
): SeenStack {
  const seen = containers.map((container) => ({
    name: container.name,
    service: container.service,
    status: container.status,
    health: container.health.status,
    image: container.image,
    restart_policy: container.restartPolicy,
    stop_grace_ms: graceMs(container),
    depends_on: container.dependencies.map(({ service }) => service),
    in_a_backup: fate(container),
  }));
  const fates = [
    ...new Set(seen.filter(({ in_a_backup }) => in_a_backup !== 'stays off').map(({ in_a_backup }) => in_a_backup)),
  ];
  return {
    name,
    kind: containers.some(({ project }) => project !== null) ? 'compose' : 'plain',
    running: containers.filter(({ status }) => status === 'running' || status === 'restarting').length,
    containers: seen.toSorted((left, right) => left.name.localeCompare(right.name)),
    in_a_backup: fates.length === 0 ? 'stays off' : fates.join(', '),
    held,
  };
}

function listText(stacks: readonly SeenStack[]): string {
  if (stacks.length === 0) return 'docker has no containers';
  const rows = stacks.map(({ name, kind, running, containers, in_a_backup, held }) => [
    name,
    kind,
    `${running}/${containers.length}`,
    in_a_backup,
    held === null ? '' : (held.reason ?? 'yes'),
  ]);
  return table(['STACK', 'KIND', 'RUNNING', 'IN A BACKUP', 'HELD'], rows);
}

function showText(stack: SeenStack): string {
  const rows = stack.containers.map((each) => [
    inStack(stack.name, each.name),
    each.health === 'none' ? each.status : `${each.status} (${each.health})`,
    each.restart_policy,
    `${each.stop_grace_ms / 1_000} s`,
    each.depends_on.join(', '),
    each.in_a_backup,
  ]);
  const title = `${stack.name}: ${stack.kind === 'compose' ? 'Compose project' : 'plain container'}, ${stack.running} of ${stack.containers.length} run`;
  const { held } = stack;
  const note =
    held === null
      ? ''
      : `\nheld since ${held.at}${held.reason === null ? '' : ` (${held.reason})`}: nothing starts or upgrades it; backups go on`;
  return `${title}${note}\n${table(['CONTAINER', 'STATE', 'RESTART', 'GRACE', 'AFTER', 'IN A BACKUP'], rows)}`;
}
