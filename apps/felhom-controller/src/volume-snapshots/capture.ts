import { createHash } from 'node:crypto';
import { join } from 'node:path/posix';
import { formatBytes } from '@felhom/cli/quantity.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import type { Catalog } from './catalog.ts';
import type { CaptureRequest, PlannedSource, SnapshotPlan } from './contract.ts';
import type { KeptFile, KeptSource, Manifest } from './manifest.ts';
import type { Planned } from './plan.ts';
import type { SnapshotPorts } from './ports.ts';
import { projectFiles } from './project-files.ts';
import { requireDown, standing } from './seen-down.ts';

/** A snapshot that was read and not kept yet. */
export interface Building {
  folder: string;
  manifest: Manifest;
}

/** @throws Failure `snapshot_impossible`, `no_space`: before anything is stopped or read. */
export function requirePossible({ stack, obstacles, neededBytes, freeBytes }: SnapshotPlan): void {
  if (obstacles.length > 0) {
    throw new Failure('snapshot_impossible', {
      message: `no snapshot of ${stack} could be restored: ${obstacles.map(({ what, why }) => `${what}: ${why}`).join('; ')}. Nothing was stopped`,
      hint: `What need not be kept goes into the configuration: stacks: { ${stack}: { snapshot: { exclude: [NAME] } } }`,
    });
  }
  if (freeBytes < neededBytes) {
    throw new Failure('no_space', {
      message: `a snapshot of ${stack} needs ${formatBytes(neededBytes)} (10 % included), and ${formatBytes(freeBytes)} are free. Nothing was stopped`,
      hint: `Make room, or drop old ones: felhom-controller snapshot prune ${stack} --keep 1. Another disk: snapshots: { dir: … } in the configuration`,
    });
  }
}

/**
 * Reads everything while the stack is down, every source side by side. The plan was made before: nothing is asked here
 * that could have been asked while the apps still ran.
 */
export async function captureSources(
  ports: SnapshotPorts,
  catalog: Catalog,
  { look, plan }: Planned,
  { reason, signal, pushToDisk = false }: CaptureRequest,
): Promise<Building> {
  const { stack } = plan;
  const hasData = plan.sources.length > 0;
  const before = await ports.engine.list();
  // Without data there is nothing that could change while it is read.
  if (hasData) requireDown(stack, before, `a snapshot of ${stack}`);
  const id = ports.disk.newId(ports.clock.nowMs());
  const folder = await catalog.beginBuilding(stack, id);
  try {
    const ended = new AbortController();
    const signals = signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal]);
    const sources = await allOrNone(
      plan.sources.map(
        async (source, at) => await captureSource(ports, folder, source, at, { signal: signals, pushToDisk }),
      ),
      ended,
    );
    const after = await ports.engine.list();
    if (hasData && standing(stack, after) !== standing(stack, before)) throw startedMeanwhile(stack);
    const manifest: Manifest = {
      id,
      stack,
      created_at: new Date(ports.clock.nowMs()).toISOString(),
      reason,
      engine_id: (await ports.engine.identity()).id,
      project: {
        working_dir: look.project.workingDir,
        compose_files: look.project.composeFiles,
        env_files: look.project.envFiles,
      },
      files: [],
      images: look.own.flatMap(({ service, image, imageId }) =>
        service === null ? [] : [{ service, image, id: imageId }],
      ),
      sources,
      left_out: plan.leftOut,
      shared: plan.shared,
    };
    return { folder, manifest: { ...manifest, files: await keepFiles(ports, folder, look) } };
  } catch (error) {
    await ports.disk.remove(folder).catch(() => undefined); // The next one that is built sweeps it.
    throw error;
  }
}

/** Waits for all, and has the others end at the first that fails: nobody may still write when the folder goes. */
async function allOrNone<T>(work: readonly Promise<T>[], ended: AbortController): Promise<T[]> {
  for (const each of work) each.catch(() => ended.abort());
  const ends = await Promise.allSettled(work);
  const failed = ends.find((end) => end.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  return ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
}

async function captureSource(
  { archiver, disk }: SnapshotPorts,
  folder: string,
  source: PlannedSource,
  at: number,
  options: { signal: AbortSignal; pushToDisk: boolean },
): Promise<KeptSource> {
  let { method } = source;
  let stored = storedName(at, method);
  try {
    await archiver.capture(source.path, join(folder, stored), method, options);
  } catch (error) {
    if (method === 'archive' || options.signal.aborted) throw error;
    // Some files share no blocks though their file system can (btrfs without copy-on-write): then it takes its time.
    await disk.remove(join(folder, stored));
    method = 'archive';
    stored = storedName(at, method);
    await archiver.capture(source.path, join(folder, stored), method, options);
  }
  return {
    name: source.name,
    kind: source.kind,
    path: source.path,
    services: source.services,
    method,
    stored,
    stored_bytes: method === 'archive' ? await disk.sizeOf(join(folder, stored)) : 0,
    content_bytes: source.contentBytes,
    seal: null,
    skipped: source.sockets,
  };
}

function storedName(at: number, method: KeptSource['method']): string {
  return method === 'archive' ? `data/${at}.tar.zst` : `data/${at}`;
}

/** Small: they are hashed where they are read. */
async function keepFiles({ disk }: SnapshotPorts, folder: string, look: Planned['look']): Promise<KeptFile[]> {
  const kept: KeptFile[] = [];
  for (const { path, role } of await projectFiles(disk, look.project, look.model)) {
    const file = await disk.read(path);
    if (file === null) continue;
    const stored = `files/${kept.length}`;
    await disk.write(join(folder, stored), { bytes: file.bytes, mode: 0o600, uid: 0, gid: 0 });
    const sha256 = createHash('sha256').update(file.bytes).digest('hex');
    const { mode, uid, gid } = file;
    kept.push({ path, role, stored, bytes: file.bytes.byteLength, sha256, mode, uid, gid });
  }
  return kept;
}

function startedMeanwhile(stack: string): Failure {
  return new Failure('stack_running', {
    message: `the snapshot of ${stack} was dropped: its containers changed while its data was read`,
    hint: `See who starts them (docker events --since 10m), then stop the stack and try again: docker compose -p ${stack} stop`,
  });
}
