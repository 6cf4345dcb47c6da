import { isPveFault, PveError } from '@felhom/proxmox/errors.ts';
import type { GuestRef, GuestStatus } from '@felhom/proxmox/guests.ts';
import type { ClusterGuest } from '@felhom/proxmox/nodes.ts';
import { parseVmid } from '@felhom/proxmox/upid.ts';
import { inParallel } from './in-parallel.ts';
import type { Actual, ActualGuest, DesiredGuest, ObservedConfig } from './model.ts';
import type { ReconcileNode } from './ports.ts';

export interface ObserveOptions {
  nowMs: number;
  /** Configurations that are read at a time. */
  reads: number;
  /** Since when this lock of the guest is known, milliseconds since the epoch. */
  lockedSinceMs?: (vmid: number, lock: string) => number | null;
  /** Whether it is known, without a read, that the guest's configuration is as declared. */
  unchanged?: (guest: DesiredGuest) => boolean;
  /** Whether we are to end: no more configurations are read then. */
  isEnding?: () => boolean;
  /** The list, where it was asked for already. */
  listing?: Promise<GuestStatus[]> | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Looks at the declared guests: one list, and one read of each configuration of which something is declared. The
 * cluster is asked only where a guest is missing here or its run state differs: then it matters where it is, and whether
 * high availability manages it.
 * Throws PveError when the list cannot be had, and for a refused token; what goes wrong with one guest is that guest's.
 */
export async function observe(
  pve: ReconcileNode,
  declared: readonly DesiredGuest[],
  options: ObserveOptions,
): Promise<Actual> {
  const listing = options.listing ?? pve.guests.list({ signal: options.signal });
  const listed = new Map((await listing).map((guest) => [Number(guest.vmid), guest]));
  const here = declared.flatMap((guest) => {
    const found = listed.get(guest.vmid);
    return found === undefined ? [] : [{ declared: guest, found }];
  });
  const read = configReader(pve, options);
  const configs = await inParallel(here, options.reads, async ({ declared: guest, found }): Promise<ReadConfig> => {
    if (!isAsked(guest)) return { kind: 'not-asked' };
    return options.unchanged?.(guest) === true ? { kind: 'unchanged' } : await read(found);
  });
  const guests = new Map<number, ActualGuest>();
  for (const [index, { found }] of here.entries()) {
    const config = configs[index];
    if (config !== undefined && config.kind !== 'gone') guests.set(found.vmid, toActual(found, config, options));
  }
  const cluster = needsCluster(declared, guests) ? await askCluster(pve, options.signal) : [];
  for (const guest of cluster ?? []) {
    const found = guests.get(guest.vmid);
    if (found !== undefined && guest.haState !== null) guests.set(guest.vmid, { ...found, haManaged: true });
  }
  return {
    node: pve.node,
    observedAtMs: options.nowMs,
    guests,
    elsewhere: whereabouts(pve.node, declared, guests, cluster),
  };
}

/** One guest, freshly, with whether high availability manages it. null: it is not here any more. Throws PveError. */
export async function observeOne(
  pve: ReconcileNode,
  declared: DesiredGuest,
  kind: GuestRef['kind'],
  options: ObserveOptions,
): Promise<ActualGuest | null> {
  const ref = { vmid: parseVmid(declared.vmid), kind };
  try {
    const status = await pve.guests.status(ref, { signal: options.signal });
    const config = isAsked(declared) ? await configReader(pve, options)(ref) : ({ kind: 'not-asked' } as const);
    if (config.kind === 'gone') return null;
    return { ...toActual(status, config, options), haManaged: status.haManaged };
  } catch (error) {
    if (isPveFault(error, 'not-found')) return null;
    throw error;
  }
}

/** The node on which a guest of the cluster is; null where there is none, or PVE does not say. */
export async function whereIs(pve: ReconcileNode, vmid: number, signal?: AbortSignal): Promise<string | null> {
  return (await askCluster(pve, signal))?.find((guest) => guest.vmid === vmid)?.node ?? null;
}

function isAsked(guest: DesiredGuest): boolean {
  return guest.held === null && Object.keys(guest.fields).length > 0;
}

type ReadConfig = ObservedConfig | { kind: 'gone' };

/** After as many unanswered reads as are sent at a time the rest is not asked: a node that hangs would hold a pass for an hour. */
function configReader(
  pve: ReconcileNode,
  { reads, signal, isEnding = () => false }: ObserveOptions,
): (ref: GuestRef) => Promise<ReadConfig> {
  let unanswered = 0;
  return async ({ vmid, kind }) => {
    if (isEnding()) return { kind: 'unreadable', why: 'the pass was asked to end before it was read' };
    if (unanswered >= reads) return { kind: 'unreadable', why: 'Proxmox VE has stopped answering' };
    try {
      const { digest, live, pending } = await pve.guests.pending({ vmid, kind }, { signal });
      return { kind: 'read', digest, live, pending };
    } catch (error) {
      if (!concernsOneGuest(error)) throw error;
      if (error.fault.kind === 'not-found') return { kind: 'gone' };
      if (error.fault.kind === 'transport') unanswered += 1;
      return { kind: 'unreadable', why: error.text };
    }
  };
}

/** A token that is refused is refused for every guest: there is no use in asking on, and PVE holds each such answer back for 3 s. */
function concernsOneGuest(error: unknown): error is PveError {
  return error instanceof PveError && !['auth', 'tls-identity', 'aborted'].includes(error.fault.kind);
}

function toActual(status: GuestStatus, config: ObservedConfig, { lockedSinceMs, nowMs }: ObserveOptions): ActualGuest {
  const { vmid, kind, name, running, lock, template, memoryBytes } = status;
  return {
    vmid,
    kind,
    name,
    running,
    lock,
    lockedSinceMs: lock === null ? null : (lockedSinceMs?.(vmid, lock) ?? nowMs),
    haManaged: false,
    memoryUsedBytes: memoryBytes,
    template,
    config,
  };
}

function needsCluster(declared: readonly DesiredGuest[], guests: ReadonlyMap<number, ActualGuest>): boolean {
  return declared.some(({ vmid, state, held }) => {
    const found = guests.get(vmid);
    if (found === undefined) return true;
    return held === null && state !== null && (state === 'running') !== found.running;
  });
}

/** null: PVE does not say. Whoever acts on a run state asks for that guest by itself again. */
async function askCluster(pve: ReconcileNode, signal: AbortSignal | undefined): Promise<ClusterGuest[] | null> {
  try {
    return await pve.nodes.clusterGuests({ signal });
  } catch (error) {
    if (!concernsOneGuest(error)) throw error;
    return null;
  }
}

function whereabouts(
  node: string,
  declared: readonly DesiredGuest[],
  guests: ReadonlyMap<number, ActualGuest>,
  cluster: readonly ClusterGuest[] | null,
): Map<number, string> {
  const elsewhere = new Map<number, string>();
  for (const { vmid } of declared) {
    if (guests.has(vmid)) continue;
    if (cluster === null) elsewhere.set(vmid, '(Proxmox VE did not say which)');
    const found = cluster?.find((guest) => guest.vmid === vmid);
    // Here by the cluster's list and not by the node's own: it is arriving or leaving, and nobody's just now.
    if (found !== undefined) elsewhere.set(vmid, found.node === node ? `${node}, or on its way there` : found.node);
  }
  return elsewhere;
}
