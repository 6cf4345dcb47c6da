import { openEnvelope } from '@felhom/signed-document/envelope.ts';
import type { SignerKey } from '@felhom/signed-document/keys.ts';
import {
  contentDigest,
  largestEnvelopeBytes,
  longestLifetimeMs,
  operationPayloadType,
  type Payload,
  readPayload,
} from './payload.ts';
import { isNeeded, isOpen, mostRemembered, type Operation, type OperationsFile } from './record.ts';
import type { Refusal } from './refusal.ts';

/** What an envelope is, whoever looks at it: signed by whom, and for what. */
export type Document = { kind: 'document'; payload: Payload; keyIds: readonly string[] };
export type Refused = { kind: 'refused'; refusal: Refusal };

/** Checks signature and form. Pure; never throws for what the bytes are. */
export function readDocument(bytes: Uint8Array, signers: readonly SignerKey[]): Document | Refused {
  if (signers.length === 0) return refused('no_signers', 'no signer is configured, so nobody can sign operations here');
  const opened = openEnvelope(bytes, { payloadType: operationPayloadType, signers, maxBytes: largestEnvelopeBytes });
  if (opened.kind === 'refused') return refused(opened.reason, opened.detail);
  const read = readPayload(opened.payload);
  if (read.kind === 'refused') return refused(read.reason, read.detail);
  return { kind: 'document', payload: read.payload, keyIds: opened.keyIds };
}

export type Admission =
  | { kind: 'admitted' }
  /** The same was asked for before under this idempotency key: that is the answer, nothing is done. */
  | { kind: 'earlier'; operation: Operation }
  | Refused;

/** Whether this agent may act on the document now: for it, in its time, for the first time. Pure. */
export function admit(payload: Payload, file: OperationsFile, nowMs: number): Admission {
  if (payload.agent !== file.agent_id)
    return refused('other_agent', `it was signed for the agent ${payload.agent}, this one is ${file.agent_id}`);
  const untimely = checkTimes(payload, file.high_water_ms, nowMs);
  if (untimely !== null) return untimely;
  return checkRecord(payload, file);
}

function checkTimes({ not_before: from, expires }: Payload, highWaterMs: number, nowMs: number): Refused | null {
  const [fromMs, untilMs] = [Date.parse(from), Date.parse(expires)];
  if (nowMs < highWaterMs)
    return refused(
      'clock_behind',
      `the clock says ${iso(nowMs)}, but an operation was looked at at ${iso(highWaterMs)} already`,
    );
  if (untilMs <= fromMs) return refused('malformed_payload', `it expires (${expires}) before it begins (${from})`);
  if (untilMs - fromMs > longestLifetimeMs)
    return refused('lifetime_too_long', `it is valid from ${from} to ${expires}, longer than seven days`);
  if (nowMs < fromMs) return refused('not_yet_valid', `it is valid from ${from} on, and it is ${iso(nowMs)}`);
  return nowMs >= untilMs ? refused('expired', `it expired at ${expires}, and it is ${iso(nowMs)}`) : null;
}

function checkRecord(payload: Payload, { operations, high_water_ms: high }: OperationsFile): Admission {
  const same = operations.find((each) => each.payload.nonce === payload.nonce);
  if (same !== undefined) return refused('replayed', `this envelope was taken at ${same.accepted_at}: ${told(same)}`);
  const earlier = operations.find((each) => each.payload.idempotency_key === payload.idempotency_key);
  if (earlier !== undefined) {
    return earlier.content_sha256 === contentDigest(payload)
      ? { kind: 'earlier', operation: earlier }
      : refused(
          'idempotency_conflict',
          `the idempotency key stands for another operation, taken at ${earlier.accepted_at}`,
        );
  }
  const remembered = operations.filter((each) => isNeeded(each, high)).length;
  if (remembered >= mostRemembered) return refused('too_many', `${remembered} operations have not expired yet`);
  return { kind: 'admitted' };
}

/** How an operation stands, in a few words. */
export function told(operation: Operation): string {
  if (isOpen(operation)) return 'under way';
  return operation.reason === null ? `${operation.outcome}` : `${operation.outcome} (${operation.reason})`;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

function refused(reason: Refusal['reason'], detail: string): Refused {
  return { kind: 'refused', refusal: { reason, detail } };
}
