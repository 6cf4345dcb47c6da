import { timingSafeEqual } from 'node:crypto';
import { forbidden } from './http/api-error.ts';
import type { TokenSpec } from './options.ts';

/** Who calls, and what they may do. Even the full token is a token: what only root@pam itself may do is refused. */
export interface Caller {
  /** `root@pam!sim` */
  id: string;
  may(path: string, privilege: string): boolean;
}

/** What is wrong with the header decides the 401's reason phrase (recorded). */
export type AuthResult =
  | { kind: 'caller'; caller: Caller }
  | { kind: 'refused'; reason: 'No ticket' | 'Authentication failed!' };

export function authenticate(tokens: readonly TokenSpec[], header: string | undefined): AuthResult {
  const value = /PVEAPIToken(?:=| )(\S+)/.exec(header ?? '')?.[1];
  if (value === undefined) return { kind: 'refused', reason: 'No ticket' };
  const [id, secret] = splitToken(unescapeUri(value));
  const token = tokens.find((candidate) => candidate.id === id);
  if (token === undefined || !equal(token.secret, secret)) return { kind: 'refused', reason: 'Authentication failed!' };
  return { kind: 'caller', caller: { id, may: (path, privilege) => mayDo(token, path, privilege) } };
}

/** Throws the 403 that names the path and the privileges of which one is needed. */
export function require(caller: Caller, path: string, ...anyOf: string[]): void {
  if (!anyOf.some((privilege) => caller.may(path, privilege))) throw forbidden(`${path}, ${anyOf.join('|')}`);
}

export const everyPrivilege = '*';

/** The entry nearest to `path` decides, as with PVE's access lists: one on /vms/101 replaces what /vms grants there. */
function mayDo(token: TokenSpec, path: string, privilege: string): boolean {
  const parts = path.split('/').filter((part) => part !== '');
  for (let length = parts.length; length >= 0; length -= 1) {
    const granted = token.privileges[`/${parts.slice(0, length).join('/')}`];
    if (granted !== undefined) return granted.includes(everyPrivilege) || granted.includes(privilege);
  }
  return false;
}

function splitToken(value: string): [string, string] {
  const at = value.indexOf('=');
  return at < 0 ? [value, ''] : [value.slice(0, at), value.slice(at + 1)];
}

function unescapeUri(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value; // a stray percent sign is taken as it is
  }
}

function equal(expected: string, given: string): boolean {
  const [a, b] = [Buffer.from(expected), Buffer.from(given)];
  return a.length === b.length && timingSafeEqual(a, b);
}
