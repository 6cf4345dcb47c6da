import type { SignerKey } from '@felhom/signed-document/keys.ts';
import type { Lane } from '../lanes/lanes.ts';
import { type Admission, admit, readDocument } from './check.ts';
import { judgeTarget, type Target } from './judge.ts';
import { observeTarget } from './observe.ts';
import type { Payload } from './payload.ts';
import { performOperation } from './perform.ts';
import type { OperationPorts, TargetGuest } from './ports.ts';
import { isOpen, newOperation, type Operation, pruned, withHighWater } from './record.ts';
import { recoverGuest } from './recover.ts';
import type { Refusal } from './refusal.ts';

export interface ApplyOptions {
  signers: readonly SignerKey[];
  /** How long another holder of the guest's lane is waited for. */
  lockTimeoutMs: number;
  signal?: AbortSignal | undefined;
}

export type Applied =
  | { kind: 'refused'; refusal: Refusal }
  /** The same was asked for before: this is what became of it. */
  | { kind: 'earlier'; operation: Operation }
  /** Carried out, or left open where its end is not known yet. */
  | { kind: 'acted'; operation: Operation };

/**
 * Checks a signed operation and carries it out. Everything that can refuse it is looked at before its nonce is
 * recorded, under the guest's lane; from the record on it is never asked for a second time.
 * @throws PveError where the target cannot be looked at; then nothing was done.
 */
export async function applyOperation(
  ports: OperationPorts,
  bytes: Uint8Array,
  options: ApplyOptions,
): Promise<Applied> {
  const document = readDocument(bytes, options.signers);
  if (document.kind === 'refused') return document;
  const { payload } = document;
  const first = await admitNow(ports, payload);
  if (first.kind === 'earlier')
    return { kind: 'earlier', operation: await lookedAfter(ports, first.operation, options.signal) };
  if (first.kind !== 'admitted') return first;
  const lane = await waitForLane(ports, payload.vmid, options);
  if (lane === null) return no('lane_busy', `another process of felhom works on guest ${payload.vmid}`);
  try {
    const free = await isFree(ports, payload.vmid, options.signal);
    if (free !== null) return { kind: 'refused', refusal: free };
    const target = await proveTarget(ports, payload, options.signal);
    if ('reason' in target) return { kind: 'refused', refusal: target };
    const accepted = await accept(ports, document, target);
    if (accepted.kind !== 'accepted') return accepted;
    return { kind: 'acted', operation: await performOperation(ports, accepted.operation, options.signal) };
  } finally {
    await lane.release();
  }
}

/** An earlier operation, resolved where its process is dead and PVE tells what became of it. */
async function lookedAfter(ports: OperationPorts, earlier: Operation, signal?: AbortSignal): Promise<Operation> {
  const lane = isOpen(earlier) ? await ports.lanes.tryGuest(earlier.payload.vmid) : null;
  if (lane === null) return earlier;
  try {
    const settled = await recoverGuest(ports, earlier.payload.vmid, signal);
    return settled.find(({ id }) => id === earlier.id) ?? earlier;
  } finally {
    await lane.release();
  }
}

/** Judges by record and clock, and raises the mark below which no clock is believed. */
async function admitNow({ store, clock }: OperationPorts, payload: Payload): Promise<Admission> {
  return await store.change((file) => {
    const nowMs = clock.nowMs();
    return { file: withHighWater(file, nowMs), answer: admit(payload, file, nowMs) };
  });
}

async function waitForLane(
  { lanes, clock, bounds }: OperationPorts,
  vmid: number,
  { lockTimeoutMs, signal }: ApplyOptions,
): Promise<Lane | null> {
  const untilMs = clock.monotonicMs() + lockTimeoutMs;
  for (;;) {
    const lane = await lanes.tryGuest(vmid);
    if (lane !== null || signal?.aborted === true || clock.monotonicMs() >= untilMs) return lane;
    await clock.sleep(bounds.everyMs, signal);
  }
}

/** Nothing of ours is under way for the guest: no open operation, no open backup job. */
async function isFree(ports: OperationPorts, vmid: number, signal?: AbortSignal): Promise<Refusal | null> {
  const holder = await ports.lanes.heldBy(vmid);
  if (holder !== null) return { reason: 'lane_busy', detail: holder };
  const [open] = (await recoverGuest(ports, vmid, signal)).filter(isOpen);
  if (open === undefined) return null;
  return {
    reason: 'earlier_open',
    detail: `what became of the operation ${open.id} on guest ${vmid} is not known yet`,
  };
}

/** The target as it was signed, its archive read where one is restored; or why not. */
async function proveTarget(
  ports: OperationPorts,
  payload: Payload,
  signal: AbortSignal | undefined,
): Promise<Target | Refusal> {
  const target = await observeTarget(ports.pve, payload);
  const refusal = judgeTarget(payload, target);
  if (refusal !== null) return refusal;
  if (payload.operation !== 'guest-restore' || payload.archive_check === 'waived' || target.backup === null)
    return target;
  ports.say(`reading ${target.backup.volid} from beginning to end`);
  const reading = await ports.archives.read(target.backup, signal);
  if (reading.kind !== 'whole')
    return { reason: reading.kind === 'unreadable' ? 'archive_unreadable' : 'archive_unproven', detail: reading.why };
  // Reading takes its time: the guest may have been started meanwhile.
  const now = await observeTarget(ports.pve, payload);
  return judgeTarget(payload, now) ?? now;
}

type Accepted = { kind: 'accepted'; operation: Operation } | Exclude<Admission, { kind: 'admitted' }>;

/** Records the operation with its nonce, unless another process or the clock was faster. */
async function accept(
  { store, clock, newId }: OperationPorts,
  { payload, keyIds }: { payload: Payload; keyIds: readonly string[] },
  { guest }: Target,
): Promise<Accepted> {
  const id = newId();
  return await store.change<Accepted>((file) => {
    const nowMs = clock.nowMs();
    const seen = pruned(withHighWater(file, nowMs));
    const admission = admit(payload, file, nowMs);
    if (admission.kind !== 'admitted') return { file: seen, answer: admission };
    const at = new Date(nowMs).toISOString();
    const operation = newOperation(payload, { id, keyIds, at, restoreStorage: restoreStorage(payload, guest) });
    return { file: { ...seen, operations: [...seen.operations, operation] }, answer: { kind: 'accepted', operation } };
  });
}

/** A container's volumes go back to where its rootfs is: without a name PVE would take the storage `local`. */
function restoreStorage(payload: Payload, guest: TargetGuest | null): string | null {
  if (payload.operation !== 'guest-restore') return null;
  if (payload.storage !== null) return payload.storage;
  return guest?.kind === 'lxc' ? (guest.rootVolume?.split(':')[0] ?? null) : null;
}

function no(reason: Refusal['reason'], detail: string): Applied {
  return { kind: 'refused', refusal: { reason, detail } };
}
