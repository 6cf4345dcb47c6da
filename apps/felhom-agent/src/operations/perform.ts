import { asFailure } from '@felhom/kernel/failure.ts';
import { PveError } from '@felhom/proxmox/errors.ts';
import { actsOf } from './acts.ts';
import { judgeTarget } from './judge.ts';
import { observeTarget } from './observe.ts';
import type { Payload } from './payload.ts';
import type { Act, OperationPorts } from './ports.ts';
import { isOpen, type Operation, withOperation } from './record.ts';
import { askOnce, settleStep } from './step.ts';

/*
 * Invariants
 * - An act is asked of PVE only right after its step was recorded by the process that accepted the operation, and only
 *   once. Nothing that finds a step on record ever asks for it: it looks for its task, and concludes.
 * - What follows the last act (adopting, starting the guest) may be repeated, so recovery finishes it.
 * - Every act but the first comes after another, which may take hours: time and target are judged again right before it.
 * - The caller holds the guest's lane from before the operation was accepted until this returns.
 */

/**
 * Carries out an operation that was just accepted. Answers it ended, or open where its task could not be found. A look
 * at PVE that fails between two acts ends it there: nothing more is asked for.
 */
export async function performOperation(
  ports: OperationPorts,
  accepted: Operation,
  signal?: AbortSignal,
): Promise<Operation> {
  try {
    return await performActs(ports, accepted, signal);
  } catch (error) {
    if (!(error instanceof PveError)) throw error;
    return await concludeOperation(ports, found((await ports.store.read()).operations, accepted.id), error);
  }
}

async function performActs(ports: OperationPorts, accepted: Operation, signal?: AbortSignal): Promise<Operation> {
  let operation = accepted;
  for (const act of actsOf(accepted)) {
    if (signal?.aborted === true) break;
    const objection = operation.steps.length === 0 ? null : await judgeAgain(ports, operation.payload);
    if (objection !== null)
      return await end(ports, operation, { outcome: 'failed', reason: `${objection}; the guest was not touched` });
    ports.say(describeAct(act));
    operation = await settleStep(ports, await askOnce(ports, operation, act), act, signal);
    if (operation.steps.at(-1)?.end?.kind !== 'ok') break;
  }
  return await concludeOperation(ports, operation);
}

/** Why the next act may not be done although the one before it was; null: it may. @throws PveError */
async function judgeAgain({ pve, clock }: OperationPorts, payload: Payload): Promise<string | null> {
  const refusal = judgeTarget(payload, await observeTarget(pve, payload));
  if (refusal !== null) return refusal.detail;
  return clock.nowMs() < Date.parse(payload.expires) ? null : `it expired at ${payload.expires}, before this was done`;
}

/** Brings an operation that another process left open to its end, as far as PVE tells. Asks for nothing again. */
export async function recoverOperation(
  ports: OperationPorts,
  left: Operation,
  signal?: AbortSignal,
): Promise<Operation> {
  const act = actsOf(left)[left.steps.length - 1];
  const settled = act === undefined ? left : await settleStep(ports, left, act, signal);
  return await concludeOperation(ports, settled);
}

/** What the steps on record mean. An operation whose last step is open stays open. `error`: why no more was done. */
async function concludeOperation(ports: OperationPorts, operation: Operation, error?: PveError): Promise<Operation> {
  const why = error === undefined ? '' : ` (${error.message})`;
  const last = operation.steps.at(-1);
  if (last === undefined)
    return await end(ports, operation, { outcome: 'interrupted', reason: `nothing was asked of PVE yet${why}` });
  if (last.end === null) return operation;
  const { kind, reason } = last.end;
  if (kind === 'failed') return await end(ports, operation, { outcome: 'failed', reason });
  if (kind !== 'ok') return await end(ports, operation, { outcome: 'interrupted', reason });
  if (operation.steps.length < actsOf(operation).length) {
    const safe = last.volid === null ? 'a protected backup of it was made' : `${last.volid} is its protected backup`;
    return await end(ports, operation, { outcome: 'interrupted', reason: `the guest was not touched; ${safe}${why}` });
  }
  return await end(ports, operation, { outcome: 'done', reason: null, notes: await finish(ports, operation) });
}

/** Adopts a guest that was put back to an earlier time, and starts it where that was signed. Answers what went wrong. */
async function finish(ports: OperationPorts, { payload }: Operation): Promise<string[]> {
  if (payload.operation !== 'guest-restore' && payload.operation !== 'snapshot-rollback') return [];
  const { vmid, start, target } = payload;
  const notes: string[] = [];
  const note = async (what: string, work: () => Promise<string | null | undefined>): Promise<void> => {
    try {
      const told = await work();
      if (typeof told === 'string') notes.push(told);
    } catch (error) {
      notes.push(`${what}: ${asFailure(error).message}`);
    }
  };
  await note(
    `guest ${vmid} is not adopted (felhom-agent guest adopt ${vmid})`,
    async () => await ports.adoption.adopt(vmid),
  );
  if (!start) return notes;
  await note(`guest ${vmid} was not started`, async () => {
    const guest = await ports.pve.guest(vmid);
    if (guest?.running !== true) await ports.pve.startGuest({ vmid, kind: target.kind });
    return null;
  });
  return notes;
}

async function end(
  { store, clock }: OperationPorts,
  { id }: Operation,
  { notes = [], ...how }: { outcome: 'done' | 'failed' | 'interrupted'; reason: string | null; notes?: string[] },
): Promise<Operation> {
  const endedAt = new Date(clock.nowMs()).toISOString();
  return await store.change((file) => {
    const changed = withOperation(file, id, (each) =>
      isOpen(each) ? { ...each, ...how, notes: [...each.notes, ...notes], ended_at: endedAt } : each,
    );
    return { file: changed, answer: found(changed.operations, id) };
  });
}

function found(operations: readonly Operation[], id: string): Operation {
  const operation = operations.find((each) => each.id === id);
  if (operation === undefined) throw new Error(`no operation ${id} is on record`);
  return operation;
}

function describeAct(act: Act): string {
  switch (act.kind) {
    case 'delete-backup':
      return `deleting ${act.volid}`;
    case 'destroy-guest':
      return `destroying guest ${act.vmid}`;
    case 'rollback':
      return `rolling guest ${act.vmid} back to ${act.snapshot}`;
    case 'safety-backup':
      return `taking a protected backup of guest ${act.vmid} on ${act.storage} first`;
    case 'restore':
      return `restoring ${act.volid} over guest ${act.vmid}`;
  }
}
