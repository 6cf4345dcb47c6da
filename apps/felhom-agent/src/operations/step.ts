import type { Act, ActEnd, OperationPorts } from './ports.ts';
import { type Operation, type Step, type StepEnd, withLastStep, withOperation } from './record.ts';

/**
 * Records what is about to be asked, asks it, and records the answer. An answer that was lost leaves the step open:
 * `settleStep` looks for its task. @throws what keeps the record from being written; then nothing was asked.
 */
export async function askOnce(ports: OperationPorts, operation: Operation, act: Act): Promise<Operation> {
  const { clock, pve } = ports;
  const sinceSeconds = await pve.clockSeconds();
  const nowMs = clock.nowMs();
  const step: Step = {
    act: act.kind,
    intent_at: new Date(nowMs).toISOString(),
    since_seconds: sinceSeconds,
    upid: null,
    volid: null,
    end: null,
  };
  const recorded = await change(ports, operation.id, (each) => ({ ...each, steps: [...each.steps, step] }));
  const answer = await pve.start(act);
  if (answer.kind === 'started') return await setStep(ports, recorded, { upid: answer.upid });
  if (answer.kind === 'refused') return await setStep(ports, recorded, { end: { kind: 'failed', reason: answer.why } });
  ports.say(`the answer was lost (${answer.why}); looking for the task`);
  return recorded;
}

/** Brings the last step to its end: finds its task where only the intent is known, and follows it. May leave it open. */
export async function settleStep(
  ports: OperationPorts,
  operation: Operation,
  act: Act,
  signal?: AbortSignal,
): Promise<Operation> {
  let settled = operation;
  const step = (): Step | undefined => settled.steps.at(-1);
  if (step()?.end === null && step()?.upid === null) settled = await findTask(ports, settled, act, signal);
  const { upid, end } = step() ?? { upid: null, end: null };
  if (upid === null || end !== null) return settled;
  const followed = await ports.pve.follow(upid, act, signal);
  const told = meaning(followed);
  if (told === null) return settled;
  const volid = followed.kind === 'ok' ? followed.volid : null;
  return await setStep(ports, settled, { end: told, volid });
}

function meaning(followed: ActEnd): StepEnd | null {
  if (followed.kind === 'ok') return { kind: 'ok', reason: null };
  if (followed.kind === 'failed') return { kind: 'failed', reason: followed.reason };
  if (followed.kind === 'aborted') return null;
  return { kind: 'unknown', reason: 'PVE knows its task no more; look at the target before signing anew' };
}

/** Looks until the task is found, is certainly none, or it takes too long. */
async function findTask(
  ports: OperationPorts,
  operation: Operation,
  act: Act,
  signal?: AbortSignal,
): Promise<Operation> {
  const { clock, pve, store, bounds } = ports;
  const step = operation.steps.at(-1);
  if (step === undefined) return operation;
  const beganMs = clock.monotonicMs();
  for (;;) {
    const known = (await store.read()).operations.flatMap((each) => each.steps.flatMap(({ upid }) => upid ?? []));
    // Counted from when we began to look, after the call: a clock that was set ahead would conclude "not started" too soon.
    const intentAgeMs = clock.monotonicMs() - beganMs;
    const question = { act, sinceSeconds: step.since_seconds, intentAgeMs, certainAfterMs: bounds.lostStartMs, known };
    const found = await pve.find(question);
    if (found.kind === 'found') return await setStep(ports, operation, { upid: found.upid });
    if (found.kind === 'not-started') {
      const reason = 'no task of it is to be found, and none can come any more: nothing was done';
      return await setStep(ports, operation, { end: { kind: 'not_started', reason } });
    }
    if (signal?.aborted === true || clock.monotonicMs() - beganMs >= bounds.giveUpMs) {
      ports.say(`it cannot be told yet whether it was started: ${found.why}`);
      return operation;
    }
    await clock.sleep(bounds.everyMs, signal);
  }
}

async function setStep(ports: OperationPorts, { id }: Operation, set: Partial<Step>): Promise<Operation> {
  return await change(ports, id, (each) => withLastStep(each, set));
}

async function change(
  { store }: OperationPorts,
  id: string,
  how: (operation: Operation) => Operation,
): Promise<Operation> {
  return await store.change((file) => {
    const changed = withOperation(file, id, how);
    const operation = changed.operations.find((each) => each.id === id);
    if (operation === undefined) throw new Error(`no operation ${id} is on record`);
    return { file: changed, answer: operation };
  });
}
