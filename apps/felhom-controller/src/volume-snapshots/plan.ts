import type { Obstacle, PlannedSource, SnapshotPlan } from './contract.ts';
import { type LookOptions, lookAtStack, type StackLook } from './look.ts';
import { mountOf } from './mounts.ts';
import type { SnapshotPorts } from './ports.ts';
import { isUp } from './seen-down.ts';

const headroom = 1.1;

export interface Planned {
  look: StackLook;
  plan: SnapshotPlan;
}

/** Looks at a stack and its data, reads nothing, touches nothing. `into`: where snapshots lie. */
export async function planSnapshot(
  ports: SnapshotPorts,
  stack: string,
  { into, ...options }: LookOptions & { into: string },
): Promise<Planned> {
  const look = await lookAtStack(ports, stack, options);
  const { sources: found, leftOut, obstacles, shared } = look.sources;
  await ports.disk.makeFolder(into);
  const measured = await Promise.all(found.map(async (source) => await measureSource(ports, source, into)));
  const sources = measured.map(({ source }) => source);
  const neededBytes = Math.ceil(
    headroom * sources.reduce((sum, each) => sum + (each.method === 'tree' ? 0 : each.contentBytes), 0),
  );
  const plan: SnapshotPlan = {
    stack,
    project: look.project,
    sources,
    leftOut,
    shared,
    moved: look.moved,
    obstacles: [...obstacles, ...measured.flatMap((each) => each.obstacles)],
    running: look.own.filter(isUp).map(({ name }) => name),
    contentBytes: sources.reduce((sum, { contentBytes }) => sum + contentBytes, 0),
    neededBytes,
    freeBytes: await ports.disk.freeBytes(into),
  };
  return { look, plan };
}

async function measureSource(
  { archiver, disk }: SnapshotPorts,
  source: StackLook['sources']['sources'][number],
  into: string,
): Promise<{ source: PlannedSource; obstacles: Obstacle[] }> {
  const { bytes, sockets, devices } = await archiver.measure(source.path);
  const mounts = await disk.mounts();
  // Blocks are shared within one file system only: elsewhere there is nothing to try.
  const isSameDisk = mountOf(mounts, source.path)?.device === mountOf(mounts, into)?.device;
  const method = isSameDisk && (await archiver.canShare(source.path, into)) ? 'tree' : 'archive';
  const first = devices[0];
  return {
    source: { ...source, method, contentBytes: bytes, sockets },
    obstacles:
      first === undefined
        ? []
        : [{ what: source.name, why: `it holds devices (${first}), which no restore makes again` }],
  };
}
