import { z } from 'zod';
import { contentDigest, type Payload, payloadSchema } from './payload.ts';

/**
 * What the agent remembers of operations: one file, with the agent's own id in it. Pure.
 *
 * - The id and the nonces live and die together: whoever removes the file gets a new id, and every envelope signed
 *   for the old one is void. So a lost file never opens the door to a replay.
 * - A nonce stands here durably before anything is done, and stays until its envelope has expired.
 * - `high_water_ms` is the latest time that this agent ever acted on; a clock below it is not believed.
 */
const end = z.object({
  /** `unknown`: PVE knows no such task and will not any more. */
  kind: z.enum(['ok', 'failed', 'not_started', 'unknown']),
  reason: z.string().nullable(),
});
export type StepEnd = z.infer<typeof end>;

const step = z.object({
  act: z.enum(['delete-backup', 'destroy-guest', 'rollback', 'safety-backup', 'restore']),
  /** Our clock, when it was about to be asked for. */
  intent_at: z.string(),
  /** The node's clock then: no task of ours is older. */
  since_seconds: z.number().int(),
  upid: z.string().nullable(),
  /** The safety backup's volume, once it is known. */
  volid: z.string().nullable(),
  end: end.nullable(),
});
export type Step = z.infer<typeof step>;

const operation = z.object({
  id: z.string(),
  payload: payloadSchema,
  content_sha256: z.string(),
  key_ids: z.array(z.string()),
  accepted_at: z.string(),
  /** Where a container's volumes go, settled when it was accepted. */
  restore_storage: z.string().nullable(),
  steps: z.array(step),
  /** `done`; `failed`: PVE said so; `interrupted`: nobody knows of a task, and it will not be asked for again. */
  outcome: z.enum(['done', 'failed', 'interrupted']).nullable(),
  reason: z.string().nullable(),
  ended_at: z.string().nullable(),
  /** What a person should know besides. */
  notes: z.array(z.string()),
});
export type Operation = z.infer<typeof operation>;

export const operationsSchema = z.object({
  agent_id: z.string().regex(/^[0-9a-f]{32}$/),
  high_water_ms: z.number().int(),
  operations: z.array(operation),
});
export type OperationsFile = z.infer<typeof operationsSchema>;
export const operationsVersion = 1;

/** How long an ended operation is shown after its envelope has expired. */
const shownAfterExpiryMs = 30 * 86_400_000;
const mostShown = 200;
/** Unexpired ones: each is a nonce that must not be forgotten. */
export const mostRemembered = 1_000;

export function isOpen({ outcome }: Operation): boolean {
  return outcome === null;
}

export function newOperation(
  payload: Payload,
  {
    id,
    keyIds,
    at,
    restoreStorage,
  }: { id: string; keyIds: readonly string[]; at: string; restoreStorage: string | null },
): Operation {
  return {
    id,
    payload,
    content_sha256: contentDigest(payload),
    key_ids: [...keyIds],
    accepted_at: at,
    restore_storage: restoreStorage,
    steps: [],
    outcome: null,
    reason: null,
    ended_at: null,
    notes: [],
  };
}

/** The file with one operation replaced. @throws Error for an id that is not there: a defect of ours. */
export function withOperation(
  file: OperationsFile,
  id: string,
  change: (operation: Operation) => Operation,
): OperationsFile {
  if (!file.operations.some((each) => each.id === id)) throw new Error(`no operation ${id} is on record`);
  return { ...file, operations: file.operations.map((each) => (each.id === id ? change(each) : each)) };
}

/** The operation with its last step changed. */
export function withLastStep(of: Operation, change: Partial<Step>): Operation {
  return { ...of, steps: of.steps.map((each, at) => (at === of.steps.length - 1 ? { ...each, ...change } : each)) };
}

export function withHighWater(file: OperationsFile, nowMs: number): OperationsFile {
  return { ...file, high_water_ms: Math.max(file.high_water_ms, nowMs) };
}

/** Its nonce must not be forgotten: it is under way, or its envelope could still be taken by some clock that is believed. */
export function isNeeded(operation: Operation, highWaterMs: number): boolean {
  return isOpen(operation) || Date.parse(operation.payload.expires) >= highWaterMs;
}

/**
 * Drops what needs no remembering: ended, expired by the high-water mark (so also by every clock that will be believed
 * from now on), and beyond what is shown.
 */
export function pruned(file: OperationsFile): OperationsFile {
  const needed = (each: Operation): boolean => isNeeded(each, file.high_water_ms);
  const old = file.operations.filter(
    (each) => !needed(each) && Date.parse(each.payload.expires) + shownAfterExpiryMs >= file.high_water_ms,
  );
  const shown = new Set(old.slice(-mostShown));
  return { ...file, operations: file.operations.filter((each) => needed(each) || shown.has(each)) };
}
