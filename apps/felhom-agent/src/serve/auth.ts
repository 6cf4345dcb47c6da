import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** A guest's token: 256 random bits. Only its hash is ever stored. */
export function newToken(): string {
  return `fh_${randomBytes(32).toString('base64url')}`;
}

/** SHA-256 as hex. A token has 256 random bits, so that a slow hash would add nothing. */
export function hashToken(token: string): string {
  return createHash('sha256').update(token, 'utf8').digest('hex');
}

export interface KnownToken {
  vmid: number;
  sha256: string;
}

/**
 * The guest whose token this is, or null. Every known hash is compared, each in constant time: how
 * long it takes tells nothing of how near a guess was.
 * @param header the Authorization header as received.
 */
export function findGuest(header: string | undefined, known: readonly KnownToken[]): number | null {
  const match = /^Bearer ([A-Za-z0-9._~+/=-]{1,512})$/.exec(header ?? '');
  const presented = Buffer.from(hashToken(match?.[1] ?? ''), 'hex');
  let found: number | null = null;
  for (const { vmid, sha256 } of known) {
    const stored = Buffer.from(sha256, 'hex');
    const same = stored.length === presented.length && timingSafeEqual(stored, presented);
    if (same && match !== null) found = vmid;
  }
  return found;
}
