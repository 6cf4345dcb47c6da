import { formatBytes } from '@felhom/cli/quantity.ts';
import { asFailure, Failure, failures } from '@felhom/kernel/failure.ts';
import { loadConfig, locateConfig } from '../config.ts';
import { quiesceBounds } from '../config-bounds.ts';
import type { VolumeSnapshots } from '../volume-snapshots/contract.ts';
import { openEngine } from '../wiring.ts';
import type { CommandContext } from './context.ts';
import { describeSnapshot, type SnapshotSeen } from './snapshot-seen.ts';
import { table } from './table.ts';
import { withSnapshots } from './with-snapshots.ts';

/** `snapshot list [STACK]` */
export async function snapshotList(context: CommandContext, stack: string | null): Promise<void> {
  const stacks = await onDisk(context, async (snapshots) => {
    const names = stack === null ? await snapshots.stacks() : [stack];
    return await Promise.all(
      names.map(async (name) => ({ stack: name, snapshots: (await snapshots.list(name)).map(describeSnapshot) })),
    );
  });
  reportList(context, stacks);
}

function reportList({ reporter }: CommandContext, stacks: { stack: string; snapshots: SnapshotSeen[] }[]): void {
  reporter.result({ schema: 'felhom.snapshots/1', stacks }, () => {
    const rows = stacks.flatMap(({ stack, snapshots }) =>
      snapshots.map((each) => [
        stack,
        each.id,
        each.damaged === null ? formatBytes(each.content_bytes) : 'DAMAGED',
        each.reason ?? '',
        each.last_good ? 'last good' : '',
      ]),
    );
    return rows.length === 0 ? 'there are no snapshots' : table(['STACK', 'SNAPSHOT', 'DATA', 'REASON', ''], rows);
  });
}

/** `snapshot verify STACK [ID]` */
export async function snapshotVerify(context: CommandContext, stack: string, id: string | null): Promise<void> {
  const checked = await onDisk(context, async (snapshots) => {
    const ids = id === null ? (await snapshots.list(stack)).map((each) => each.id) : [id];
    if (ids.length === 0) throw none(stack);
    const results: { id: string; ok: boolean; hashed: boolean; why: string | null; notes: string[] }[] = [];
    for (const each of ids) results.push(await check(snapshots, stack, each));
    return results;
  });
  const bad = checked.filter(({ ok }) => !ok);
  context.reporter.result({ schema: 'felhom.snapshot-verify/1', stack, snapshots: checked }, () =>
    checked
      .flatMap((each) => [
        `${each.id}: ${each.ok ? 'whole' : 'DAMAGED'}`,
        ...[each.why ?? [], each.notes].flat().map((note) => `  ${note}`),
      ])
      .join('\n'),
  );
  if (bad.length > 0) context.setExit(failures.snapshot_damaged.exit);
}

async function check(
  snapshots: VolumeSnapshots,
  stack: string,
  id: string,
): Promise<{ id: string; ok: boolean; hashed: boolean; why: string | null; notes: string[] }> {
  try {
    const { hashed, notes } = await snapshots.verify(stack, id);
    return { id, ok: true, hashed, why: null, notes };
  } catch (error) {
    const failure = asFailure(error);
    if (failure.code !== 'snapshot_damaged' && failure.code !== 'state_newer') throw failure;
    return { id, ok: false, hashed: false, why: failure.message, notes: [] };
  }
}

/** `snapshot prune STACK [--keep N]` */
export async function snapshotPrune(context: CommandContext, stack: string, keep: number | null): Promise<void> {
  const loaded = await loadConfig(locateConfig(context.flags, context.env));
  const end = await withSnapshots(context, loaded, async (ports, snapshots) => {
    const { holdingRunLock } = await import('../volume-snapshots/hold-lock.ts');
    const { requireNotBetween } = await import('../volume-snapshots/not-between.ts');
    const bounds = quiesceBounds(loaded.config.bounds);
    return await holdingRunLock(ports, { bounds, stop: new AbortController().signal }, async () => {
      await requireNotBetween(ports, stack);
      return await snapshots.prune(stack, keep ?? loaded.config.snapshots.keep);
    });
  });
  if (end.removed.length + end.kept.length === 0) throw none(stack);
  context.reporter.result({ schema: 'felhom.snapshot-prune/1', stack, ...end }, () =>
    end.removed.length === 0
      ? `nothing to remove; ${end.kept.length} stay`
      : `removed ${end.removed.join(', ')}; ${end.kept.length} stay`,
  );
}

/** Reading takes no lock and asks no engine. */
async function onDisk<T>({ flags, env }: CommandContext, work: (snapshots: VolumeSnapshots) => Promise<T>): Promise<T> {
  const { config } = await loadConfig(locateConfig(flags, env));
  const { openSnapshots } = await import('../volume-snapshots/wiring.ts');
  const engine = await openEngine(env);
  try {
    return await work(openSnapshots(config, engine));
  } finally {
    await engine.close();
  }
}

function none(stack: string): Failure {
  return new Failure('not_found', {
    message: `${stack} has no snapshots`,
    hint: `Take one: felhom-controller snapshot create ${stack} --quiesce`,
  });
}
