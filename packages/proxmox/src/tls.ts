import { readFileSync } from 'node:fs';
import { TLSSocket } from 'node:tls';
import { Failure } from '@felhom/kernel/failure.ts';
import { buildConnector } from 'undici';

/** How we know that the other side is our node. */
export type PveTls =
  /** The SHA-256 fingerprint of the certificate, as "pvenode cert info" prints it. Names and dates do not matter then. */
  | { kind: 'fingerprint'; fingerprint: string }
  /** The certificate must be signed by this authority (PEM file) and carry the host's name. */
  | { kind: 'ca'; caFile: string }
  /** The authorities that the system trusts. */
  | { kind: 'system' };

/** The connection could not be made, so not one byte of a request was sent. */
export class ConnectFailed extends Error {
  readonly identity: boolean;

  constructor(message: string, { identity, cause }: { identity: boolean; cause?: unknown }) {
    super(message, { cause });
    this.identity = identity;
  }
}

/**
 * undici's connector with the identity check in it. A wrong certificate is refused here, before a
 * request is written: undici writes only to a socket that the connector has handed over.
 * `maxCachedSessions: 0` is what makes pinning work from the second connection on: a resumed TLS
 * session carries no peer certificate to compare.
 */
export function pveConnector(tls: PveTls, timeoutMs: number): buildConnector.connector {
  const connect = buildConnector({ ...trust(tls), timeout: timeoutMs, maxCachedSessions: 0 });
  const pinned = tls.kind === 'fingerprint' ? parseFingerprint(tls.fingerprint) : null;
  return (options, callback) => {
    connect(options, (...[error, socket]) => {
      if (error !== null) {
        callback(new ConnectFailed(error.message, { identity: isIdentityError(error), cause: error }), null);
        return;
      }
      const seen = pinned === null ? null : fingerprintOf(socket);
      if (seen === pinned) {
        callback(null, socket);
        return;
      }
      socket.destroy();
      callback(
        new ConnectFailed(`the certificate's fingerprint is ${seen ?? 'unknown'}, not the pinned one`, {
          identity: true,
        }),
        null,
      );
    });
  };
}

function trust(tls: PveTls): { rejectUnauthorized: boolean; ca?: string } {
  if (tls.kind === 'fingerprint') return { rejectUnauthorized: false };
  if (tls.kind === 'system') return { rejectUnauthorized: true };
  try {
    return { rejectUnauthorized: true, ca: readFileSync(tls.caFile, 'utf8') };
  } catch (error) {
    throw new Failure('config_invalid', {
      message: `the CA file ${tls.caFile} cannot be read; nothing was sent to the node`,
      hint: 'Check pve.ca_file: it must be a readable PEM file, on a node /etc/pve/pve-root-ca.pem.',
      cause: error,
    });
  }
}

/** The fingerprint of the socket's peer as 64 hexadecimal digits, or null where it showed none. */
function fingerprintOf(socket: unknown): string | null {
  if (!(socket instanceof TLSSocket)) return null;
  const { fingerprint256 } = socket.getPeerCertificate();
  return typeof fingerprint256 === 'string' ? normalize(fingerprint256) : null;
}

const normalize = (fingerprint: string): string => fingerprint.replaceAll(/[:\s]/g, '').toLowerCase();

/** A SHA-256 fingerprint as 64 lower-case hexadecimal digits. Throws `config_invalid` for anything else. */
export function parseFingerprint(fingerprint: string): string {
  const digits = normalize(fingerprint);
  if (/^[0-9a-f]{64}$/.test(digits)) return digits;
  throw new Failure('config_invalid', {
    message: 'the pinned fingerprint is not a SHA-256 fingerprint; nothing was sent to the node',
    hint: 'Enter the fingerprint that "pvenode cert info" prints on the node: 32 pairs of hexadecimal digits.',
  });
}

/** Errors by which Node says that it does not trust the certificate. */
function isIdentityError(error: Error): boolean {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return /^(?:CERT_|ERR_TLS_CERT_|DEPTH_ZERO_SELF_SIGNED|SELF_SIGNED|UNABLE_TO_)/.test(code);
}
