import { told } from './check.ts';
import { describeOperation } from './payload.ts';
import type { Operation } from './record.ts';

/** An operation as `--json` shows it. */
export function operationRow(operation: Operation) {
  const { payload, steps } = operation;
  return {
    id: operation.id,
    operation: payload.operation,
    vmid: payload.vmid,
    describe: describeOperation(payload),
    state: operation.outcome ?? 'open',
    outcome: operation.outcome,
    reason: operation.reason,
    nonce: payload.nonce,
    idempotency_key: payload.idempotency_key,
    signed_by: operation.key_ids,
    accepted_at: operation.accepted_at,
    ended_at: operation.ended_at,
    expires: payload.expires,
    steps: steps.map(({ act, upid, volid, end }) => ({ act, upid, volid, end })),
    notes: operation.notes,
  };
}
export type OperationRow = ReturnType<typeof operationRow>;

/** The same for a person. */
export function operationText(operation: Operation): string {
  const lines = [
    `${operation.accepted_at}  ${told(operation)}: ${describeOperation(operation.payload)}`,
    `  nonce ${operation.payload.nonce}, until ${operation.payload.expires}, signed by ${operation.key_ids.join(', ')}`,
    ...operation.steps.map(
      ({ act, upid, volid }) => `  ${act}${volid === null ? '' : ` ${volid}`}: ${upid ?? 'no task is known'}`,
    ),
    ...operation.notes.map((note) => `  ${note}`),
  ];
  return lines.join('\n');
}
