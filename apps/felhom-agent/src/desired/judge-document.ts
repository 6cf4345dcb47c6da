import { createHash } from 'node:crypto';
import { type EnvelopeReason, openEnvelope } from '@felhom/signed-document/envelope.ts';
import type { SignerKey } from '@felhom/signed-document/keys.ts';
import { type DesiredDocument, desiredPayloadType, readDocument } from './document.ts';

/*
 * Invariants
 * - A document counts only with a signature of a configured signer over exactly its bytes and its type,
 *   and only for the agents that it names.
 * - The serial never goes back, over restarts too: `seen` is kept durably and outlives every document.
 *   Of one serial there is one document.
 * - Time only keeps new documents out. It never takes one away that is in force: a host whose source
 *   is gone keeps its last word.
 */

/** The newest document that was ever accepted, and the latest time at which one was. */
export interface Seen {
  serial: number;
  /** SHA-256 of its payload, hex. */
  payloadSha256: string;
  atMs: number;
}

export interface DocumentRules {
  signers: readonly SignerKey[];
  agentId: string;
  /** Of the envelope. */
  maxBytes: number;
  seen: Seen | null;
  nowMs: number;
}

export type DocumentReason =
  | EnvelopeReason
  | 'malformed_payload'
  | 'other_agent'
  | 'not_yet_valid'
  | 'expired'
  | 'older_serial'
  | 'serial_reused';

export type Judgement =
  | { kind: 'accepted'; document: DesiredDocument; payloadSha256: string; keyIds: readonly string[] }
  /** The document that was accepted last, once more. */
  | { kind: 'same'; document: DesiredDocument; payloadSha256: string; keyIds: readonly string[] }
  | { kind: 'refused'; reason: DocumentReason; detail: string };

/** How far the clocks of signer and host may be apart. */
const clockSkewMs = 5 * 60_000;

/** Whether a document that came from outside is to be followed. Pure; never throws for what its bytes are. */
export function judgeDocument(bytes: Uint8Array, rules: DocumentRules): Judgement {
  const opened = openDocument(bytes, rules);
  if (opened.kind === 'refused') return opened;
  const { seen } = rules;
  if (seen?.serial === opened.document.serial && seen.payloadSha256 === opened.payloadSha256)
    return { ...opened, kind: 'same' };
  const { serial, issued, expires } = opened.document;
  if (seen !== null && serial < seen.serial)
    return refused('older_serial', `it has the serial ${serial}, and ${seen.serial} was seen already`);
  if (seen?.serial === serial)
    return refused('serial_reused', `its serial ${serial} was seen already with other content`);
  // A clock that was set back does not make a document young again.
  const nowMs = Math.max(rules.nowMs, seen?.atMs ?? 0);
  if (Date.parse(issued) > nowMs + clockSkewMs)
    return refused('not_yet_valid', `it is issued at ${issued}, which is to come`);
  if (Date.parse(expires) <= nowMs) return refused('expired', `it expired at ${expires}`);
  return { ...opened, kind: 'accepted' };
}

export type OpenedDocument =
  | { kind: 'opened'; document: DesiredDocument; payloadSha256: string; keyIds: readonly string[] }
  | { kind: 'refused'; reason: DocumentReason; detail: string };

/** Signature, form and addressee alone: what must hold of the document in force too, each time it is read from disk. */
export function openDocument(
  bytes: Uint8Array,
  { signers, agentId, maxBytes }: Pick<DocumentRules, 'signers' | 'agentId' | 'maxBytes'>,
): OpenedDocument {
  const envelope = openEnvelope(bytes, { payloadType: desiredPayloadType, signers, maxBytes });
  if (envelope.kind === 'refused') return envelope;
  const read = readDocument(envelope.payload);
  if (read.kind === 'refused') return read;
  const { document } = read;
  if (!document.agents.includes(agentId))
    return refused(
      'other_agent',
      `it is for ${document.agents.length === 1 ? 'another agent' : 'other agents'}; this one is ${agentId}`,
    );
  const payloadSha256 = createHash('sha256').update(envelope.payload).digest('hex');
  return { kind: 'opened', document, payloadSha256, keyIds: envelope.keyIds };
}

function refused(reason: DocumentReason, detail: string): { kind: 'refused'; reason: DocumentReason; detail: string } {
  return { kind: 'refused', reason, detail };
}
