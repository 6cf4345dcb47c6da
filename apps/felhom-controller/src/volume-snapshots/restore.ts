import { dirname, join } from 'node:path/posix';
import { formatBytes } from '@felhom/cli/quantity.ts';
import { asFailure, Failure } from '@felhom/kernel/failure.ts';
import type { ContainerState } from '../engine/engine.ts';
import { interruptionFailure } from '../quiesce/interruption.ts';
import type { Catalog } from './catalog.ts';
import type { Restored, RestoreRequest } from './contract.ts';
import { type LookOptions, lookAtStack } from './look.ts';
import type { Manifest } from './manifest.ts';
import { isWithin, mountOf } from './mounts.ts';
import type { SnapshotPorts } from './ports.ts';
import type { RestoreDebt } from './restore-debt.ts';
import { cleanRestore, swapAll, undoRestore } from './restore-steps.ts';
import { findTargets, type RestoreTargets } from './restore-targets.ts';
import { requireDown } from './seen-down.ts';
import { verifySnapshot } from './verify.ts';

/*
 * Invariants
 * - Until every archive was verified and every place found, nothing is touched.
 * - The debt is durable before the first thing is unpacked. While it says `unpacking` nothing of the stack was touched.
 * - It says `swapping` only once everything new is whole and durable: from then on the way leads forward, unless a
 *   rename fails, which turns all of them back. Once all is in place nothing turns back: what was replaced may be half
 *   removed by then.
 * - Meanwhile no engine that comes up starts a container on data of which a part is exchanged: restart policies are off.
 */

export async function restoreSnapshot(
  ports: SnapshotPorts,
  catalog: Catalog,
  target: { stack: string; id: string },
  options: RestoreRequest & LookOptions,
): Promise<Restored> {
  const { stack, id } = target;
  await requireNoDebt(ports);
  const { manifest, notes } = options.verified ?? (await verifySnapshot(ports, catalog, stack, id));
  const fallback = {
    workingDir: manifest.project.working_dir,
    composeFiles: manifest.project.compose_files,
    envFiles: manifest.project.env_files,
  };
  const look = await lookAtStack(ports, stack, { ...options, fallback, lenient: true });
  requireDown(stack, look.containers, `the restore of ${stack}`);
  const targets = await findTargets(ports, look, manifest, options);
  if (targets.faults.length > 0) throw impossible(stack, id, targets.faults);
  requireUnshared(stack, look.containers, targets);
  await requireRoom(ports, stack, targets);
  const left = await exchange(ports, catalog, manifest, targets, { ...options, own: look.own });
  const kept = new Set(manifest.sources.map(({ name }) => name));
  const untouched = look.sources.sources.filter(({ name }) => !kept.has(name));
  return {
    id,
    sources: targets.sources.map(({ source }) => source.name),
    files: targets.files.map(({ file }) => file.path),
    notes: [...notes, ...left, ...untouched.map(({ name }) => `${name} is not in the snapshot and stays as it is`)],
  };
}

const untouched = 'Nothing of the stack was touched';

/** Answers what a person should know of it. */
async function exchange(
  ports: SnapshotPorts,
  catalog: Catalog,
  manifest: Manifest,
  targets: RestoreTargets,
  request: RestoreRequest & { own: readonly ContainerState[] },
): Promise<string[]> {
  const items = [...targets.sources, ...targets.files].map(({ item }) => item);
  if (items.length === 0) return [];
  const debt: RestoreDebt = {
    stack: manifest.stack,
    snapshot: manifest.id,
    engine_id: (await ports.engine.identity()).id,
    begun_at_ms: ports.clock.nowMs(),
    phase: 'unpacking',
    items,
    policies: request.own
      .filter(({ restartPolicy }) => restartPolicy !== 'no')
      .map(({ id, restartPolicy, restartRetries }) => ({ id, name: restartPolicy, retries: restartRetries })),
  };
  await ports.debts.write(debt);
  try {
    await unpackAll(ports, catalog.folderOf(manifest.stack, manifest.id), targets, request);
    for (const { id } of debt.policies) await ports.engine.setRestartPolicy(id, { name: 'no', retries: 0 });
    requireDown(debt.stack, await ports.engine.list(), `the restore of ${debt.stack}`);
    request.signal?.throwIfAborted();
    await ports.debts.write({ ...debt, phase: 'swapping' });
  } catch (error) {
    await cleanRestore(ports, debt).catch(() => undefined); // The debt stays, and recovery removes what is left.
    const { signal } = request;
    if (signal?.aborted === true) throw interruptionFailure(signal, untouched, 'Run the same command again.');
    throw withState(error, untouched);
  }
  try {
    await swapAll(ports, { ...debt, phase: 'swapping' });
  } catch (error) {
    await undoRestore(ports, debt, error);
    throw withState(error, 'Everything is as it was before');
  }
  try {
    await cleanRestore(ports, debt);
    return [];
  } catch (error) {
    return [
      `what was replaced could not be removed yet (${asFailure(error).message}); it is tried again: felhom-controller recover`,
    ];
  }
}

async function unpackAll(
  ports: SnapshotPorts,
  folder: string,
  targets: RestoreTargets,
  { inheritFds, signal }: RestoreRequest,
): Promise<void> {
  const { disk, archiver } = ports;
  const ended = new AbortController();
  const signals = signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal]);
  const work = targets.sources.map(async ({ source, item }) => {
    await disk.makeFolder(item.fresh);
    if (item.kind === 'contents') {
      await disk.makeFolder(item.aside);
      await disk.copyAttributes(item.target, item.aside);
    }
    await archiver.unpack(join(folder, source.stored), item.fresh, source.method, { inheritFds, signal: signals });
  });
  for (const each of work) each.catch(() => ended.abort());
  const failed = (await Promise.allSettled(work)).find((end) => end.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  for (const { file, item } of targets.files) {
    const kept = await disk.read(join(folder, file.stored));
    if (kept === null) throw new Error(`${file.stored} has gone since it was verified`);
    await disk.write(item.fresh, { bytes: kept.bytes, mode: file.mode, uid: file.uid, gid: file.gid });
  }
  const mounts = await disk.mounts();
  const places = new Map(
    [...targets.sources, ...targets.files].map(({ item }) => [mountOf(mounts, item.fresh)?.path, dirname(item.fresh)]),
  );
  for (const place of places.values()) await disk.syncAll(place);
}

async function requireNoDebt({ debts }: SnapshotPorts): Promise<void> {
  if ((await debts.read()).kind === 'absent') return;
  throw new Failure('busy', {
    message: 'an interrupted restore has not come to its end yet. Nothing was touched',
    hint: 'Settle it first: felhom-controller recover',
  });
}

function impossible(stack: string, id: string, faults: readonly string[]): Failure {
  return new Failure('snapshot_impossible', {
    message: `snapshot ${id} cannot be put back into ${stack}: ${faults.join('; ')}. Nothing was touched`,
    hint: `Compare: felhom-controller snapshot list ${stack} --json; docker compose -p ${stack} config`,
  });
}

/** Whoever else has these folders open would go on writing into what was set aside. */
function requireUnshared(
  stack: string,
  containers: Awaited<ReturnType<typeof lookAtStack>>['containers'],
  { sources }: RestoreTargets,
): void {
  const users = containers.filter(
    ({ project, status, mounts }) =>
      project !== stack &&
      (status === 'running' || status === 'restarting' || status === 'paused') &&
      mounts.some(({ volume, source, kind, writable }) =>
        sources.some(
          ({ source: { name }, item: { target } }) =>
            (kind === 'volume' && volume === name) ||
            source === name ||
            isWithin(source, target) ||
            (writable && source.startsWith('/') && isWithin(target, source)),
        ),
      ),
  );
  if (users.length === 0) return;
  throw new Failure('stack_running', {
    message: `the restore of ${stack} was refused: ${users.map(({ name }) => name).join(', ')} uses the same data and runs. Nothing was touched`,
    hint: `Stop it first: docker stop ${users.map(({ name }) => name).join(' ')}`,
  });
}

async function requireRoom({ disk }: SnapshotPorts, stack: string, { sources }: RestoreTargets): Promise<void> {
  const mounts = await disk.mounts();
  const needs = new Map<string, { place: string; bytes: number }>();
  for (const { source, item } of sources) {
    const place = item.kind === 'contents' ? item.target : dirname(item.target);
    const device = mountOf(mounts, place)?.device ?? place;
    const bytes = (needs.get(device)?.bytes ?? 0) + (source.method === 'tree' ? 0 : source.content_bytes * 1.1);
    needs.set(device, { place, bytes });
  }
  for (const { place, bytes } of needs.values()) {
    const free = await disk.freeBytes(place);
    if (free >= bytes) continue;
    throw new Failure('no_space', {
      message: `the restore of ${stack} needs ${formatBytes(Math.ceil(bytes))} beside ${place} (10 % included), and ${formatBytes(free)} are free. Nothing was touched`,
      hint: 'Make room (df -h; docker system df), then run the same command again.',
    });
  }
}

function withState(error: unknown, state: string): Failure {
  const failure = asFailure(error);
  if (failure.message.endsWith(state) || failure.code === 'bug') return failure;
  return new Failure(failure.code, { message: `${failure.message}. ${state}`, hint: failure.hint, cause: failure });
}
