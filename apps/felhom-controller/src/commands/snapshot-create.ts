import { formatBytes, formatElapsed } from '@felhom/cli/quantity.ts';
import { watchSignals } from '@felhom/cli/signals.ts';
import { worstExit } from '@felhom/kernel/failure.ts';
import { loadConfig, locateConfig, quiescePolicy } from '../config.ts';
import { quiesceBounds } from '../config-bounds.ts';
import type { CreateEnd } from '../volume-snapshots/create.ts';
import type { CommandContext } from './context.ts';
import { describeSnapshot, type SnapshotSeen } from './snapshot-seen.ts';
import { withSnapshots } from './with-snapshots.ts';

/** `felhom.snapshot-create/1` */
interface CreateResult {
  schema: 'felhom.snapshot-create/1';
  stack: string;
  outcome: 'created' | 'failed';
  snapshot: SnapshotSeen | null;
  /** From the first stop command to the last container running again; null: nothing was stopped. */
  downtime_ms: number | null;
  /** Of these only the capture is part of the downtime. */
  took: { capture_ms: number | null; keep_ms: number | null; seal_ms: number | null };
  not_rolled_back: { what: string; why: string }[];
  shared: { source: string; container: string; running: boolean }[];
  owed: { stack: string; container: string; why: string }[];
  warnings: string[];
  error: { code: string; message: string; hint: string } | null;
}

/** `snapshot create STACK [--quiesce]` */
export async function snapshotCreate(
  context: CommandContext,
  stack: string,
  { quiesce, reason }: { quiesce: boolean; reason: string },
): Promise<void> {
  const { reporter, flags, env, setExit } = context;
  const loaded = await loadConfig(locateConfig(flags, env));
  const signals = watchSignals({ onRepeat: () => reporter.say('The apps come back first; this cannot be hurried.') });
  try {
    const end = await withSnapshots(context, loaded, async (ports, snapshots) => {
      const { createSnapshot } = await import('../volume-snapshots/create.ts');
      return await createSnapshot(ports, snapshots, {
        stack,
        quiesce,
        reason,
        policy: quiescePolicy(loaded.config),
        bounds: quiesceBounds(loaded.config.bounds),
        stop: signals.stop,
      });
    });
    const exit = worstExit(end.failures.map((failure) => failure.exit));
    const failure = end.failures.find((each) => each.exit === exit) ?? null;
    const result: CreateResult = {
      schema: 'felhom.snapshot-create/1',
      stack,
      outcome: end.outcome,
      snapshot: end.snapshot === null ? null : describeSnapshot({ kind: 'readable', ...end.snapshot }),
      downtime_ms: end.downtimeMs,
      took: { capture_ms: end.took.captureMs, keep_ms: end.took.keepMs, seal_ms: end.took.sealMs },
      not_rolled_back: end.plan?.leftOut ?? [],
      shared: end.plan?.shared ?? [],
      owed: end.owed,
      warnings: end.warnings,
      error: failure?.toJSON() ?? null,
    };
    if (end.outcome === 'created') reporter.result(result, () => createdText(stack, end));
    if (failure !== null) reporter.failure(failure, result);
    setExit(exit);
  } finally {
    signals.dispose();
  }
}

function createdText(stack: string, { snapshot, plan, downtimeMs }: CreateEnd): string {
  const row = (label: string, text: string): string => `  ${label.padEnd(19)}${text}`;
  const sources = snapshot?.manifest.sources ?? [];
  const title =
    sources.length === 0
      ? `${stack}: there is no data to keep; its files and image ids are kept as ${snapshot?.id ?? ''}`
      : `${stack}: kept as ${snapshot?.id ?? ''}, the last good one now`;
  const lines = [title];
  if (downtimeMs !== null) lines.push(row('apps down', formatElapsed(downtimeMs)));
  for (const { name, content_bytes, method } of sources)
    lines.push(row(method === 'tree' ? 'shared blocks' : 'archive', `${name} (${formatBytes(content_bytes)})`));
  for (const { skipped, name } of sources)
    if (skipped.length > 0) lines.push(row('sockets left out', `${name}: ${skipped.join(', ')}`));
  for (const { what, why } of plan?.leftOut ?? []) lines.push(row('not rolled back', `${what} (${why})`));
  for (const { source, container } of plan?.shared ?? [])
    lines.push(row('shared', `${source} is used by ${container} too`));
  return lines.join('\n');
}
