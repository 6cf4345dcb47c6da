import { Failure } from '@felhom/kernel/failure.ts';
import { loadConfig, locateConfig } from '../config.ts';
import { stackOf } from '../quiesce/marker.ts';
import { hold, readHolds, release } from '../stacks/holds.ts';
import { clock, openEngine } from '../wiring.ts';
import type { CommandContext } from './context.ts';

/** `stack hold STACK`: nothing of ours starts or upgrades it until it is released. Backups go on. */
export async function stackHold(context: CommandContext, stack: string, reason: string | null): Promise<void> {
  const { config } = await loadConfig(locateConfig(context.flags, context.env));
  await hold(config.state_dir, stack, reason, clock.nowMs());
  const holds = await readHolds(config.state_dir);
  if (!(await isKnown(context.env, stack)))
    context.reporter.say(`docker knows no stack ${JSON.stringify(stack)} now: it is held from its first container on`);
  context.reporter.result(
    { schema: 'felhom.stack-hold/1', stack, held: true, holds },
    () =>
      `${stack} is held: reconcile does not start it, no upgrade touches it; backups go on\n  felhom-controller stack release ${stack}`,
  );
}

/** A name that was mistyped would hold nothing. Where docker cannot be asked nothing is said. */
async function isKnown(env: CommandContext['env'], stack: string): Promise<boolean> {
  try {
    const engine = await openEngine(env);
    try {
      return (await engine.list()).some((container) => stackOf(container) === stack);
    } finally {
      await engine.close();
    }
  } catch {
    return true;
  }
}

/** `stack release STACK` */
export async function stackRelease(context: CommandContext, stack: string): Promise<void> {
  const { config } = await loadConfig(locateConfig(context.flags, context.env));
  if (!(await release(config.state_dir, stack))) {
    const holds = Object.keys(await readHolds(config.state_dir));
    throw new Failure('not_found', {
      message: `${stack} is not held; nothing was changed`,
      hint: holds.length === 0 ? 'No stack is held.' : `Held are: ${holds.join(', ')}`,
    });
  }
  const holds = await readHolds(config.state_dir);
  context.reporter.result({ schema: 'felhom.stack-hold/1', stack, held: false, holds }, () => `${stack} is released`);
}
