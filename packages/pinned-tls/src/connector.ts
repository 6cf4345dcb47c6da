import { TLSSocket } from 'node:tls';
import { buildConnector } from 'undici';

/*
 * Invariants:
 * - The identity of the peer is settled before the socket is handed over. undici writes only to a
 *   socket that its connector gave it, so a wrong certificate is refused before one byte of a request is sent.
 * - Sessions are never resumed: a resumed one carries no peer certificate, so that a comparison
 *   would fail from the second connection on.
 * - Whether a certificate is believed is decided here alone, never by NODE_TLS_REJECT_UNAUTHORIZED.
 */

/** How we know that the other side is who it should be. */
export type PeerTrust =
  /** Exactly this certificate, whoever signed it: its SHA-256 as `canonicalFingerprint` writes it. Names and dates do not matter then. */
  | { kind: 'fingerprint'; fingerprint: string }
  /** Signed by this authority (PEM text), and with the host's name. */
  | { kind: 'ca'; ca: string }
  /** Signed by an authority that the system trusts, and with the host's name. */
  | { kind: 'system' };

/** The connection could not be made, so not one byte of a request was sent. */
export class ConnectFailed extends Error {
  override readonly name = 'ConnectFailed';
  /** True: somebody answered, and is not who it should be. */
  readonly identity: boolean;
  /** The fingerprint of the certificate that was shown in place of the pinned one; null where none was compared. */
  readonly shown: string | null;

  constructor(message: string, { identity, shown = null, cause }: ConnectFailedFacts) {
    super(message, { cause });
    this.identity = identity;
    this.shown = shown;
  }
}

interface ConnectFailedFacts {
  identity: boolean;
  shown?: string | null;
  cause?: unknown;
}

/** undici's connector with the check of identity in it; `timeoutMs` bounds connecting, TLS included. Every error is a `ConnectFailed`. */
export function verifiedConnector(trust: PeerTrust, timeoutMs: number): buildConnector.connector {
  const connect = buildConnector({
    rejectUnauthorized: trust.kind !== 'fingerprint',
    ...(trust.kind === 'ca' ? { ca: trust.ca } : {}),
    timeout: timeoutMs,
    maxCachedSessions: 0,
  });
  return (options, callback) => {
    connect(options, (...[error, socket]) => {
      if (error !== null) {
        callback(new ConnectFailed(textOf(error), { identity: isIdentityError(error), cause: error }), null);
        return;
      }
      const stranger = trust.kind === 'fingerprint' ? comparePeer(socket, trust.fingerprint) : null;
      if (stranger === null) {
        callback(null, socket);
        return;
      }
      socket.destroy();
      callback(stranger, null);
    });
  };
}

/** Null when the peer showed the pinned certificate. */
function comparePeer(socket: unknown, pinned: string): ConnectFailed | null {
  const shown = socket instanceof TLSSocket ? (socket.getPeerCertificate().fingerprint256 ?? 'none') : 'none';
  if (shown === pinned) return null;
  return new ConnectFailed(`the certificate's fingerprint is ${shown}, not the pinned one`, { identity: true, shown });
}

/** An address with several families fails with an error that has a code and no words. */
function textOf(error: Error): string {
  return error.message === '' ? codeOf(error) || error.name : error.message;
}

/** Errors by which Node says that it does not trust the certificate. */
function isIdentityError(error: Error): boolean {
  return /^(?:CERT_|ERR_TLS_CERT_|DEPTH_ZERO_SELF_SIGNED|SELF_SIGNED|UNABLE_TO_)/.test(codeOf(error));
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : '';
}
