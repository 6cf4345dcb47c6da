import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { Failure } from '@felhom/kernel/failure.ts';
import { registerSecret } from '@felhom/kernel/redact.ts';
import { decodeCanonicalBase64 } from './base64.ts';

/** A public key that documents may be signed with, as it stands in a configuration. */
export interface SignerKey {
  /** Made from the key itself: the first 32 hex digits of the SHA-256 of its 32 bytes. */
  keyId: string;
  /** For people; may be empty. */
  name: string;
  /** Known, and no longer good: what it signs is refused by that name. */
  revoked: boolean;
  publicKey: KeyObject;
}

const rawBytes = 32;
/** The DER of an Ed25519 public key (RFC 8410) is this head and the 32 bytes. */
const spkiHead = Buffer.from('302a300506032b6570032100', 'hex');
const line = /^(revoked )?ed25519:([A-Za-z0-9+/_-]{43}=)(?: +(\S(?:.{0,98}\S)?))?$/;

/**
 * Reads a line as `keygen` prints it: `ed25519:BASE64 name`, `revoked ed25519:BASE64 name` for a key that is no
 * longer good. Null for anything else.
 */
export function parseKeyLine(text: string): SignerKey | null {
  const match = line.exec(text.trim());
  const raw = match?.[2] === undefined ? null : decodeCanonicalBase64(match[2]);
  if (match === null || raw?.length !== rawBytes) return null;
  const publicKey = createPublicKey({ key: Buffer.concat([spkiHead, raw]), format: 'der', type: 'spki' });
  return { keyId: keyIdOf(publicKey), name: match[3] ?? '', revoked: match[1] !== undefined, publicKey };
}

/** The line by which a configuration names the key. */
export function formatKeyLine(publicKey: KeyObject, name: string): string {
  return `ed25519:${rawOf(publicKey).toString('base64')}${name === '' ? '' : ` ${name}`}`;
}

export function keyIdOf(publicKey: KeyObject): string {
  return createHash('sha256').update(rawOf(publicKey)).digest('hex').slice(0, 32);
}

function rawOf(publicKey: KeyObject): Buffer {
  return publicKey.export({ format: 'der', type: 'spki' }).subarray(-rawBytes);
}

/** A key to sign with. Its text never reaches a person: it is registered as a secret. */
export interface SigningKey {
  keyId: string;
  publicKey: KeyObject;
  privateKey: KeyObject;
}

/** A new key pair, and the text (PKCS#8, PEM) by which the private one is kept. */
export function generateSigningKey(): SigningKey & { pem: string } {
  const { privateKey } = generateKeyPairSync('ed25519');
  const pem = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
  return { ...readSigningKey(pem), pem };
}

/** @throws Failure `usage` for text that is no unencrypted Ed25519 private key. */
export function readSigningKey(pem: string): SigningKey {
  for (const part of pem.split('\n')) if (!part.startsWith('-----')) registerSecret(part);
  const privateKey = parsePrivate(pem);
  const publicKey = createPublicKey(privateKey);
  return { keyId: keyIdOf(publicKey), publicKey, privateKey };
}

function parsePrivate(pem: string): KeyObject {
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // One message for every kind of text that is no key: OpenSSL's own words may quote it.
  }
  throw new Failure('usage', {
    message: 'that is no Ed25519 private key (PKCS#8, PEM, without a passphrase); nothing was signed',
    hint: 'Make one: felhom-agent operation keygen --out FILE',
  });
}
