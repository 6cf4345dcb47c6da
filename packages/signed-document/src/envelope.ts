import { sign as signBytes, verify as verifyBytes } from 'node:crypto';
import { decodeCanonicalBase64 } from './base64.ts';
import type { SignerKey, SigningKey } from './keys.ts';
import { preAuthenticationEncoding } from './pae.ts';
import { readStrictJson } from './strict-json.ts';

/*
 * Invariants
 * - A payload leaves `openEnvelope` only with the ids of the keys that signed exactly these bytes under exactly this type.
 * - The type is given by the caller and compared before anything is verified: an envelope cannot choose how it is read.
 * - Key ids are hints (DSSE leaves them unsigned): a signature is tried against every key. One that *names* a key of
 *   ours must be that key's, though: what is broken or revoked is refused as a whole, not skipped.
 * - Stricter than DSSE asks: unknown fields are refused where it would have them ignored, and base64 must be canonical.
 */

export type EnvelopeReason =
  | 'oversized'
  | 'malformed'
  | 'duplicate_key'
  | 'wrong_payload_type'
  | 'no_signers'
  | 'unsigned'
  | 'unknown_key'
  | 'revoked_key'
  | 'bad_signature';

export type OpenedEnvelope =
  | { kind: 'opened'; payload: Buffer; keyIds: readonly string[] }
  | { kind: 'refused'; reason: EnvelopeReason; detail: string };

export interface EnvelopeRules {
  payloadType: string;
  signers: readonly SignerKey[];
  /** Of the whole envelope. */
  maxBytes: number;
}

const mostSignatures = 8;
const signatureBytes = 64;

/** An envelope over `payload`, signed by each of `keys`. */
export function sealEnvelope(payloadType: string, payload: Uint8Array, keys: readonly SigningKey[]): string {
  const covered = preAuthenticationEncoding(payloadType, payload);
  const signatures = keys.map(({ keyId, privateKey }) => ({
    keyid: keyId,
    sig: signBytes(null, covered, privateKey).toString('base64'),
  }));
  return `${JSON.stringify({ payload: Buffer.from(payload).toString('base64'), payloadType, signatures }, null, 2)}\n`;
}

/** Checks an envelope and answers what it carries. Pure; never throws for what the bytes are. */
export function openEnvelope(bytes: Uint8Array, { payloadType, signers, maxBytes }: EnvelopeRules): OpenedEnvelope {
  if (bytes.length > maxBytes) return refused('oversized', `it has ${bytes.length} bytes; ${maxBytes} are allowed`);
  const json = readStrictJson(bytes);
  if (json.kind === 'refused')
    return refused(json.reason === 'duplicate_key' ? 'duplicate_key' : 'malformed', json.detail);
  const envelope = readEnvelope(json.value);
  if (typeof envelope === 'string') return refused('malformed', envelope);
  if (envelope.payloadType !== payloadType)
    return refused(
      'wrong_payload_type',
      `it is of type ${quote(envelope.payloadType)}, and ${quote(payloadType)} is wanted`,
    );
  if (signers.length === 0) return refused('no_signers', 'no signer is configured');
  if (envelope.signatures.length === 0) return refused('unsigned', 'it carries no signature');
  return checkSignatures(envelope, signers);
}

interface Envelope {
  payloadType: string;
  payload: Buffer;
  signatures: { keyid: string; sig: Buffer }[];
}

/** The parts of an envelope, or what is wrong with it. */
function readEnvelope(value: unknown): Envelope | string {
  const fields = exactly(value, ['payload', 'payloadType', 'signatures']);
  if (typeof fields === 'string') return fields;
  const { payload, payloadType, signatures } = fields;
  if (typeof payloadType !== 'string' || typeof payload !== 'string') return 'payload and payloadType must be text';
  if (!Array.isArray(signatures) || signatures.length > mostSignatures)
    return `signatures must be a list of at most ${mostSignatures}`;
  const body = decodeCanonicalBase64(payload);
  if (body === null) return 'payload is not canonical base64';
  const read = signatures.map(readSignature);
  const broken = read.find((each) => typeof each === 'string');
  if (broken !== undefined) return broken;
  return { payloadType, payload: body, signatures: read.filter((each) => typeof each !== 'string') };
}

function readSignature(value: unknown): { keyid: string; sig: Buffer } | string {
  const fields = exactly(value, ['sig'], ['keyid']);
  if (typeof fields === 'string') return fields;
  const { sig, keyid = '' } = fields;
  if (typeof sig !== 'string' || typeof keyid !== 'string') return 'sig and keyid must be text';
  const bytes = decodeCanonicalBase64(sig);
  if (bytes === null) return 'a signature is not canonical base64';
  return bytes.length === signatureBytes ? { keyid, sig: bytes } : `a signature must have ${signatureBytes} bytes`;
}

function checkSignatures(
  { payloadType, payload, signatures }: Envelope,
  signers: readonly SignerKey[],
): OpenedEnvelope {
  const covered = preAuthenticationEncoding(payloadType, payload);
  const keyIds = new Set<string>();
  for (const { keyid, sig } of signatures) {
    const good = signers.find(({ publicKey }) => verifyBytes(null, covered, publicKey, sig));
    const named = signers.find((signer) => signer.keyId === keyid);
    if (named !== undefined && named !== good)
      return refused('bad_signature', `the signature of ${nameOf(named)} does not fit what the envelope carries`);
    if (good?.revoked === true) return refused('revoked_key', `the key ${nameOf(good)} is revoked`);
    if (good !== undefined) keyIds.add(good.keyId);
  }
  if (keyIds.size > 0) return { kind: 'opened', payload, keyIds: [...keyIds] };
  const names = signatures.map(({ keyid }) => (keyid === '' ? 'a key without a name' : keyid)).join(', ');
  return refused('unknown_key', `it is signed by ${quote(names)}, and by none of the configured signers`);
}

/** The fields of an object that has all of `required`, and none but those and `optional`; else what is wrong. */
function exactly(
  value: unknown,
  required: readonly string[],
  optional: readonly string[] = [],
): Record<string, unknown> | string {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return `an object with ${required.join(', ')} is expected`;
  const fields: Record<string, unknown> = { ...value };
  const missing = required.find((key) => !Object.hasOwn(fields, key));
  if (missing !== undefined) return `${missing} is missing`;
  const unknown = Object.keys(fields).find((key) => !required.includes(key) && !optional.includes(key));
  return unknown === undefined ? fields : `unknown key ${quote(unknown)}`;
}

function nameOf({ keyId, name }: SignerKey): string {
  return name === '' ? keyId : `${keyId} (${name})`;
}

/** Foreign text for a person: short, and nothing in it that moves a cursor. */
function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

function refused(reason: EnvelopeReason, detail: string): OpenedEnvelope {
  return { kind: 'refused', reason, detail };
}
